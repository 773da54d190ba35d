"""What an event takes while a stopped process holds the lock that it wants."""

import statistics

from tests.benchmarks.figures import Figure


def measure(bench):
    """The median and the worst of each round, beside the same with nobody in the way."""
    found = []
    for _ in bench.turns(bench.pick(7, 3), "events that are held up"):
        with bench.place() as home:
            found.append(bench.tell(home, "held_up.py", 40, FLWR_TELEMETRY_SIDECAR="never"))
    for name, of in (("median", statistics.median), ("worst of 40", max)):
        held, free = (tuple(of(one[kind]) for one in found) for kind in ("held_ms", "free_ms"))
        what = f"event() while a stopped process holds the lock, {name}"
        yield Figure("held-up", what, "nobody holds it", "ms", held, free)
