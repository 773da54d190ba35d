"""Peak memory of a sidecar that works off a spool beside that of its imports alone."""

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.rows import spools

KINDS = (
    ("equal", 1, "one event"),
    ("equal", 1_000_000, "equal events"),
    ("workloads", 100_000, "workloads of two events"),
    ("distinct", 100_000, "all details distinct"),
    ("apart", 20_000, "events of which no two share a body"),
)


def measure(bench):
    """What the system says was the most that was resident."""
    for kind, full, what in KINDS:
        count = full if full == 1 else bench.pick(full, full // 10)
        ours, theirs, requests = [], [], 0
        with spools.kept(bench, kind, count) as spool:
            for _ in bench.turns(bench.pick(3, 1), f"peak memory, {what}", share=1 / len(KINDS)):
                theirs.append(spools.floor(bench).peak_mib)
                once = spools.once(bench, spool)
                ours.append(once.peak_mib)
                requests = once.requests
        events = f"{count:,} {what}, {requests:,} requests" if count > 1 else what
        target = Target("≤ 1.3 times", "ratio", at_most=1.3)
        ratio = tuple(ours), tuple(theirs)
        yield Figure("memory", f"--once, {events}", "its imports alone", "MiB", *ratio, target)
