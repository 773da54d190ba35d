"""The sidecar's way from spool to outbox beside msgpack decoding alone of the same bytes."""

from tests.benchmarks.figures import Figure, Target

EVENTS = 100_000
KINDS = {
    "equal": "equal events",
    "workloads": "workloads of two events, each with a run-id-hash",
    "distinct": "all details distinct",
}


def measure(bench):
    """Events a second, by both."""
    for kind, events in KINDS.items():
        way = f"spool to outbox, {events}"
        rounds, processes = 3, bench.pick(3, 1)
        found = []
        for _ in bench.turns(processes, way, share=1 / len(KINDS)):
            with bench.place() as home:
                found += bench.tell(home, "coalescing.py", home, kind, EVENTS, rounds)
        ours, theirs, with_json = (
            tuple(EVENTS / one[name] / 1e3 for one in found) for name in ("coalesce_s", "decode_s", "json_s")
        )
        target = Target("≥ 1/2", "ratio", at_least=0.5)
        what = f"{way}: {found[0]['bodies']:,} bodies of {EVENTS:,} events"
        yield Figure("throughput", what, "msgpack decoding alone", "events/ms", ours, theirs, target)
        beside = "decoding, and what is an event's own as JSON"
        yield Figure("throughput", what, beside, "events/ms", ours, with_json)
