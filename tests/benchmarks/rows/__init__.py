"""The rows of the table: each room measures one thing, or a few that are measured together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.rows import memory, scale, steady, throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.figures import Figure

ROWS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "steady": steady.measure,
    "throughput": throughput.measure,
    "memory": memory.measure,
    "scale": scale.measure,
}
