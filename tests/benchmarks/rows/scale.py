"""How the cost of working off a spool grows with it: time a further event, and peak memory."""

import statistics

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.rows import spools

KIND = "workloads"
DECODING = "msgpack decoding alone"
# How often each size is taken: the small ones are all noise.
SIZES = {1_000: 41, 10_000: 15, 100_000: 3, 1_000_000: 3}
# One workload: as many kinds of event, so as many requests, as there are in the other sizes up to 10⁴.
LEAST = 2
LINEAR = Target("within 10 %", "ratio", at_least=0.9, at_most=1.1)
FLAT = Target("flat: ≤ 1.1 times", "ratio", at_most=1.1)


def measure(bench):
    """Each size beside the one before it, and beside decoding alone."""
    cost_us = {}
    peaks_mib = {}
    sizes = [*SIZES][: bench.pick(4, 3)]
    for size in sizes:
        beside = cost_us.get(size // 10, ()), peaks_mib.get(size // 10, ())
        cost_us[size], peaks_mib[size], decode_us = _one_size(bench, size, 1 / len(sizes))
        unit, row = "µs/event", "scale"
        what = f"--once, processor time, {size:,} events"
        yield Figure(row, what, DECODING, unit, cost_us[size], decode_us, size=size)
        if beside[0]:
            before = f"{size // 10:,} events"
            last = tuple([statistics.median(beside[0])] * len(cost_us[size]))
            yield Figure(row, what, before, unit, cost_us[size], last, LINEAR)
            last = tuple([statistics.median(beside[1])] * len(peaks_mib[size]))
            what = f"--once, peak memory, {size:,} events"
            yield Figure(row, what, before, "MiB", peaks_mib[size], last, FLAT)


def _one_size(bench, size, share):
    """Processor time a further event, peak memory, and decoding, in turn with a run of one workload."""
    costs_us, peaks_mib, decodes_us = [], [], []
    rounds = SIZES[size] if not bench.quick else max(1, SIZES[size] // 3)
    with spools.kept(bench, KIND, size) as spool, spools.kept(bench, KIND, LEAST) as one:
        for _ in bench.turns(rounds, f"{size:,} events", share=share):
            start = spools.once(bench, one)
            whole = spools.once(bench, spool)
            with bench.place() as home:
                count, busy_s = bench.tell(home, "decoding.py", spool.path)
            costs_us.append(1e6 * (whole.busy_s - start.busy_s) / (size - LEAST))
            peaks_mib.append(whole.peak_mib)
            decodes_us.append(1e6 * busy_s / count)
    return tuple(costs_us), tuple(peaks_mib), tuple(decodes_us)
