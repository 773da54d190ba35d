"""Counts for ``GET /metrics``, in the text format of Prometheus. They say nothing about single sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_NAME = "flwr_collector"


@dataclass(slots=True)
class Metrics:
    """The counts since the start of the process."""

    bodies: Counter[str] = field(default_factory=Counter)
    """By outcome."""
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)
    """By status code, and field if there is one."""
    events: int = 0
    """New ones."""
    received_bytes: int = 0
    """Of contents, as they came."""
    deletions: int = 0
    commits: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_S) + 1))
    """By duration: up to each bound, and longer."""
    commit_s: float = 0.0
    """Of all commits together."""

    def commit(self, seconds: float) -> None:
        """Count a commit; the one thread that writes calls it."""
        place = next((n for n, bound in enumerate(_BOUNDS_S) if seconds <= bound), len(_BOUNDS_S))
        self.commits[place] += 1
        self.commit_s += seconds

    def text(self, queue: int) -> str:
        """All counts; ``queue`` is the number of bodies that wait."""
        return "".join(f"{line}\n" for line in self._lines(queue))

    def _lines(self, queue: int) -> Iterator[str]:
        yield from _head(
            "bodies_total", "counter", "Bodies that were answered with 201, by what became of them"
        )
        for outcome in ("accepted", "double", "forgotten"):
            yield f'{_NAME}_bodies_total{{outcome="{outcome}"}} {self.bodies[outcome]}'
        yield from _head("refused_total", "counter", "Requests that were refused, by status code")
        for (reason, name), count in sorted(self.refused.items()):
            yield f'{_NAME}_refused_total{{reason="{reason}",field="{name}"}} {count}'
        for name, kind, what, value in (
            ("events_total", "counter", "New events", self.events),
            ("received_bytes_total", "counter", "Bytes of contents, as they came", self.received_bytes),
            ("deletions_total", "counter", "Sources that were deleted by request", self.deletions),
            ("queue", "gauge", "Bodies that wait to be written", queue),
        ):
            yield from _head(name, kind, what)
            yield f"{_NAME}_{name} {value}"
        yield from _head("commit_seconds", "histogram", "Time of a commit, and of the work before it")
        total = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), self.commits, strict=True):
            total += count
            yield f'{_NAME}_commit_seconds_bucket{{le="{bound}"}} {total}'
        yield f"{_NAME}_commit_seconds_sum {self.commit_s:.6f}"
        yield f"{_NAME}_commit_seconds_count {total}"


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP {_NAME}_{name} {what}."
    yield f"# TYPE {_NAME}_{name} {kind}"
