"""The rows of the table: each room measures one thing, or a few that are measured together."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.figures import Figure

ROWS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
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
