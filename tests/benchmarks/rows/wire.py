"""What the collector hears of many workloads at once: requests, and bytes on the wire, TLS and all."""

import time

from tests.benchmarks.bench import tell
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.peers import OURS

WORKLOADS, THEIR_WORKLOADS = 1000, 100
WHAT = f"{WORKLOADS} workloads of 2 events at once"
# Both events of a workload come in other bodies, and each has to say whose it is.
IDS_BYTES = WORKLOADS * 2 * (len('"",') * 2 + 36 + 64)
FLOWER = "flwr-1.41"
ZIPPED = "to a collector that takes compressed bodies"
REQUESTS = Target("≤ 4", "ours", at_most=4)
BYTES = Target("≤ 1/30", "ratio", at_most=1 / 30)
PATIENCE_S = 120


def measure(bench):
    """Of us, and of Flower's own telemetry; its figures are those of fewer workloads, multiplied."""
    contenders = [one for one in bench.everybody() if one.name in {OURS.name, FLOWER}]
    found = {}
    for _ in bench.turns(bench.pick(3, 1), f"{WORKLOADS} workloads at once"):
        for one in contenders:
            workloads = WORKLOADS if one is OURS else THEIR_WORKLOADS
            found.setdefault(one.name, []).append(_many(bench, one, workloads))
        bench.collector.ask("unzip")
        found.setdefault(ZIPPED, []).append(_many(bench, OURS, WORKLOADS))
        bench.collector.ask("plain")
    more = WORKLOADS / THEIR_WORKLOADS
    ours, theirs = found[OURS.name], found.get(FLOWER, [])
    beside = next((one.title for one in contenders if one.name == FLOWER), "-")
    note = f"{THEIR_WORKLOADS} workloads, times {more:g}" if theirs else "without peers"
    for counted, unit, of, target in (
        ("requests", "", lambda counts: counts.requests, REQUESTS),
        ("connections", "", lambda counts: counts.connections, None),
        ("bytes sent", "kB", lambda counts: counts.sent_bytes / 1e3, None),
        ("bytes both ways", "kB", _both_ways_kb, BYTES),
    ):
        mine, their = tuple(map(of, ours)), tuple(more * of(counts) for counts in theirs)
        yield Figure("wire", f"{WHAT}: {counted}", beside, unit, mine, their, target, note)
    mine = tuple(map(_both_ways_kb, found[ZIPPED]))
    their = tuple(more * _both_ways_kb(counts) for counts in theirs)
    yield Figure("wire", f"{WHAT}: bytes both ways, {ZIPPED}", beside, "kB", mine, their, BYTES, note)
    mine, ids = tuple(map(_both_ways_kb, ours)), (IDS_BYTES / 1e3,) * len(ours)
    floor = "the cluster IDs and run-id-hashes alone, as JSON has them"
    yield Figure("wire", f"{WHAT}: bytes both ways", floor, "kB", mine, ids)


def _both_ways_kb(counts):
    return (counts.sent_bytes + counts.received_bytes) / 1e3


def _many(bench, one, workloads):
    origin = bench.collector.counted_origin
    bench.collector.ask("reset")
    with bench.place(f"{origin}/api/v1/event") as home:
        command = bench.command(one, 2 * workloads, "many", origin=origin)
        tell(command, bench.environment(home))
        deadline_s = time.monotonic() + PATIENCE_S
        while (counts := bench.collector.ask()).events < 2 * workloads:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{one.title}: {counts.events} of {2 * workloads} events have arrived")
            time.sleep(0.2)
    return bench.collector.ask()
