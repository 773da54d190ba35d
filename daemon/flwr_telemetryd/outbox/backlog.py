"""How much of a host is not delivered yet. Read-only: this module never writes or locks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.pending import grown_segments, has_bodies

from ..spool import reader, segments
from ..spool.directory import check_ownership, listing
from . import batch, contents
from .body import read as read_body


@dataclass(frozen=True, slots=True)
class Backlog:
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

    def left(self, is_over: Callable[[], bool] = lambda: False) -> Backlog:
        """Count what is left now.

        A file that vanishes or cannot be read counts nothing, because a count must not stop its caller.

        Args:
            is_over: asked before each file; True ends the count early.
        """
        seen: dict[tuple[int, int], int] = {}
        events = bodies = 0
        for host in self._hosts:
            for is_body, paths, count in (
                (False, contents.spool_segments, _in_segment),
                (True, contents.outbox_bodies, in_body),
            ):
                with contextlib.suppress(OSError, TelemetryError):
                    for path in paths(host):
                        if is_over():
                            return Backlog(events, bodies)
                        with contextlib.suppress(OSError, TelemetryError):
                            events += self._events(path, seen, count)
                            bodies += is_body
        self._known = seen
        return Backlog(events, bodies)

    def _events(self, path: Path, seen: dict[tuple[int, int], int], count: Callable[[Path], int]) -> int:
        status = os.lstat(path)
        key = (status.st_ino, status.st_size)
        seen[key] = self._known[key] if key in self._known else count(path)
        return seen[key]


def _in_segment(path: Path) -> int:
    return sum(isinstance(piece, reader.Record) for piece in contents.read_segment(path))


def in_body(path: Path) -> int:
    """How many events a body's file holds; 0 for a damaged one."""
    return contents.count_events(read_body(path))


def anything_waits(host: HostPaths) -> bool:
    """Whether a host has anything that was not delivered."""
    return _size(host) > 0 or more_waits(host)


def more_waits(host: HostPaths) -> bool:
    """Whether a host has anything that was not delivered besides the open segment."""
    return (
        bool(segments.sealed_segments(host))
        or bool(batch.unfinished(host, owner=""))
        or bodies_wait(host)
        or any(any(grown_segments(directory)) for directory in listing(host.outbox))
    )


def bodies_wait(host: HostPaths) -> bool:
    """Whether a host has committed bodies."""
    return any(has_bodies(directory) for directory in listing(host.outbox))


def is_waiting(host: HostPaths) -> bool:
    """The same as ``anything_waits`` of a host that may be in trouble of its own, which is not ours."""
    try:
        check_ownership(host)
        return anything_waits(host)
    except (OSError, TelemetryError):
        return False


def _size(host: HostPaths) -> int:
    try:
        return os.lstat(host.events).st_size
    except OSError:
        return 0
