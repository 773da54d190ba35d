"""How much of a host is not delivered yet. Read-only: this module never writes or locks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import scan
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths

from . import stages
from .body import read as read_body


@dataclass(frozen=True, slots=True)
class Left:
    """Counts of what is not delivered yet."""

    events: int
    """Events in segments and in bodies."""

    bodies: int
    """Bodies in committed batches."""


class Counter:
    """Counts what is left, again and again at little cost: a file is read once for each size that it has."""

    def __init__(self, hosts: Iterable[HostPaths]) -> None:
        self._hosts = list(hosts)
        self._known: dict[tuple[int, int], int] = {}

    def left(self, is_over: Callable[[], bool] = lambda: False) -> Left:
        """Count what is left now.

        A file that vanishes or cannot be read counts nothing, because a count must not stop its caller.

        Args:
            is_over: asked before each file; True ends the count early.
        """
        seen: dict[tuple[int, int], int] = {}
        events = bodies = 0
        for host in self._hosts:
            for is_body, listing, count in (
                (False, stages.spool_segments, _in_segment),
                (True, stages.outbox_bodies, in_body),
            ):
                with contextlib.suppress(OSError, TelemetryError):
                    for path in listing(host):
                        if is_over():
                            return Left(events, bodies)
                        with contextlib.suppress(OSError, TelemetryError):
                            events += self._events(path, seen, count)
                            bodies += is_body
        self._known = seen
        return Left(events, bodies)

    def _events(self, path: Path, seen: dict[tuple[int, int], int], count: Callable[[Path], int]) -> int:
        status = os.lstat(path)
        key = (status.st_ino, status.st_size)
        seen[key] = self._known[key] if key in self._known else count(path)
        return seen[key]


def _in_segment(path: Path) -> int:
    return sum(isinstance(piece, scan.Record) for piece in stages.read_segment(path))


def in_body(path: Path) -> int:
    """How many events a body's file holds; 0 for a damaged one."""
    return stages.count_events(read_body(path))
