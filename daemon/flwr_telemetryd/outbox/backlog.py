"""The backlog of a host: whether anything is undelivered, and how much.

Names and sizes answer the yes-or-no questions; a count reads the files. ``flwr_telemetry.pending`` answers
another question: whether everything that was undelivered at some moment is gone. This module never writes or
locks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import SEGMENT_SUFFIX, HostPaths, is_whole
from flwr_telemetry.named import NamedTuple
from flwr_telemetry.pending import grown_segments, has_bodies

from ..spool import reader, segments
from ..spool.directory import check_ownership, entry_names, listing, turn_at
from . import batch, contents
from .body import read as read_body


class Backlog(NamedTuple):
    """Counts of what is not delivered yet."""

    events: int
    """Events in segments and in bodies."""

    bodies: int
    """Bodies in committed batches."""


class Counter:
    """Counts the backlog of hosts repeatedly at little cost: it reads a file again only if it has grown."""

    def __init__(self, hosts: Iterable[HostPaths]) -> None:
        self._hosts = list(hosts)
        self._known: dict[tuple[int, int], int] = {}
        """Events by inode and size of a file."""

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
                            status = os.lstat(path)
                            key = status.st_ino, status.st_size
                            seen[key] = self._known[key] if key in self._known else count(path)
                            events += seen[key]
                            bodies += is_body
        self._known = seen
        return Backlog(events, bodies)


def _in_segment(path: Path) -> int:
    return sum(isinstance(piece, reader.Record) for piece in contents.read_segment(path))


def in_body(path: Path) -> int:
    """The number of events in a body's file; 0 for a damaged one."""
    return contents.count_events(read_body(path))


def anything_waits(host: HostPaths) -> bool:
    """Whether a host has anything undelivered: a segment with data, an unfinished batch, or a body."""
    with contextlib.suppress(OSError), turn_at(host):
        if os.lstat(host.events).st_size:
            return True
    return bool(segments.sealed_segments(host)) or _batches_wait(host)


def more_waits(host: HostPaths) -> bool:
    """As ``anything_waits``, without what waits for the end of the burst window: open and whole segments."""
    return not all(is_whole(path.name) for path in segments.sealed_segments(host)) or _batches_wait(host)


def _batches_wait(host: HostPaths) -> bool:
    if batch.unfinished(host, owner=""):
        return True
    return any(has_bodies(path) or any(grown_segments(path)) for path in listing(host.outbox))


def bodies_wait(host: HostPaths) -> bool:
    """Whether a host has committed bodies."""
    return any(map(has_bodies, listing(host.outbox)))


def is_waiting(host: HostPaths) -> bool:
    """As ``anything_waits``, for another host; False if its directories are unsafe or unreadable.

    There may be thousands of quiet hosts, so their directories are listed at first, and nothing else.
    """
    with contextlib.suppress(OSError, TelemetryError):
        if _may_wait(host):
            check_ownership(host)
            return anything_waits(host)
    return False


def _may_wait(host: HostPaths) -> bool:
    """False if nothing is where undelivered events can be, but an empty segment."""
    spool, work, outbox = host.unsent
    found = [f"{spool}/{name}" for name in entry_names(spool) if name.endswith(SEGMENT_SUFFIX)]
    waits = any(segments.is_sealed(os.path.basename(path)) or os.lstat(path).st_size for path in found)
    return waits or bool(entry_names(work) or entry_names(outbox))
