"""The rows of the table: each room measures one thing, or a few that are measured together."""

from tests.benchmarks.rows import (
    cpu,
    held_up,
    herd,
    idle,
    memory,
    scale,
    starting,
    steady,
    throughput,
    wall,
    wire,
)

ROWS = {
    "steady": steady.measure,
    "herd": herd.measure,
    "held-up": held_up.measure,
    "import": starting.measure_import,
    "first": starting.measure_first,
    "cpu": cpu.measure,
    "wall": wall.measure,
    "wire": wire.measure,
    "throughput": throughput.measure,
    "memory": memory.measure,
    "scale": scale.measure,
    "idle": idle.measure,
}
