"""How much is left to deliver on a host, counted again and again at little cost. Only looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import scan
from flwr_telemetry.layout import HostPaths

from . import stages
from .body import read as read_body


@dataclass(frozen=True, slots=True)
class Left:
    """What is not delivered yet.

    Attributes:
        events: in segments and bodies.
        bodies: committed ones.
    """

    events: int
    bodies: int


class Counter:
    """Counts what is left, reading each segment and body once for each size that it has.

    Args:
        host: whose.
    """

    def __init__(self, host: HostPaths) -> None:
        self._host = host
        self._known: dict[tuple[int, int], int] = {}

    def left(self) -> Left:
        """What is left now."""
        seen: dict[tuple[int, int], int] = {}
        events = bodies = 0
        for path in stages.spool_segments(self._host):
            events += self._events(path, seen, in_segment)
        for path in stages.outbox_bodies(self._host):
            events += self._events(path, seen, in_body)
            bodies += 1
        self._known = seen
        return Left(events, bodies)

    def _events(self, path: Path, seen: dict[tuple[int, int], int], count: Callable[[Path], int]) -> int:
        try:
            status = os.lstat(path)
            key = (status.st_ino, status.st_size)
            known = self._known.get(key)
            seen[key] = count(path) if known is None else known
        except FileNotFoundError:
            return 0
        return seen[key]


def in_segment(path: Path) -> int:
    """How many events a segment holds."""
    return sum(isinstance(piece, scan.Record) for piece in stages.read_segment(path))


def in_body(path: Path) -> int:
    """How many events a body's file stands for."""
    return stages.count_events(read_body(path))
