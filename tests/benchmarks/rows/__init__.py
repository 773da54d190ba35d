"""The rows of the table, in its order. Each takes a ``Bench`` and yields figures."""

from tests.benchmarks.rows import calls, collector, delivery, idle, lone, otlp, spools, starting

ROWS = {
    "lone": lone.measure,
    "steady": calls.steady,
    "herd": calls.herd,
    "held-up": calls.held_up,
    "import": starting.measure_import,
    "first": starting.measure_first,
    "start": starting.measure_start,
    "wall": delivery.wall,
    "wire": delivery.wire,
    "otlp": otlp.measure,
    "throughput": spools.throughput,
    "memory": spools.memory,
    "scale": spools.scale,
    "collector": collector.measure,
    "idle": idle.measure,
}
ASIDE = ("idle",)
"""The rows that are measured beside all the others, because they last long and do next to nothing."""
