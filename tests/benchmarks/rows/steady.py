"""A steady ``event()`` beside a bare append of the same bytes, its contract's system calls, and the peers."""

from tests.benchmarks.figures import Figure, Target, quantile

CALLS = 2000  # a round; with all rounds far below the 64 MiB at which a spool is full
SLOW = {"flwr": 50, "iterative": 20}  # calls of peers that start a thread or a process for each
FAST_CALLS = 1000


def measure(bench):
    """Floors in one process, call by call; peers round by round."""
    yield from _floors(bench)
    yield from _peers(bench)


def _floors(bench):
    processes, rounds = bench.pick(4, 1), 5
    found = []
    for _ in bench.turns(processes, "event() and its floors", share=0.5):
        with bench.place() as home:
            found += bench.tell(home, "steadily.py", CALLS, rounds, FLWR_TELEMETRY_SIDECAR="never")
    for percent, target in ((50, Target("≤ 6 times", "ratio", at_most=6)), (99, None)):
        ours, write, five = (
            tuple(quantile(times[name], percent) / 1e3 for times in found)
            for name in ("event", "write", "five")
        )
        what = f"event(), steady, p{percent}"
        yield Figure("steady", what, "bare append of the same bytes", "µs", ours, write, target)
        yield Figure("steady", what, "the contract's five system calls alone", "µs", ours, five)
        what = f"five system calls, p{percent} (a floor over a floor)"
        yield Figure("steady", what, "bare append of the same bytes", "µs", five, write)


def _peers(bench):
    times = {}
    everybody = bench.everybody()
    for _ in bench.turns(bench.pick(5, 1), "the calls of the peers", share=0.5):
        for one in everybody:
            calls = next((few for name, few in SLOW.items() if one.name.startswith(name)), FAST_CALLS)
            with bench.place() as home:
                found = bench.contend(home, one, calls)
                times.setdefault(one.name, []).append(quantile(found["calls_ns"], 50) / 1e3)
    ours, *peers = everybody
    for one in peers:
        mine, other = tuple(times[ours.name]), tuple(times[one.name])
        yield Figure("steady", "event(), steady, p50", f"{one.title}: {one.call}", "µs", mine, other)
    for one in bench.missing:
        yield Figure("steady", "event(), steady, p50", one.title, "µs", (), note=one.why)
