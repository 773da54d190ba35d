"""Whose spools a sidecar serves now: its own host's, and those of others that nobody else looks after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.waiting import grown_segments, has_bodies

from . import batch, guard, segments
from .retention import hosts


def anything_waits(host: HostPaths) -> bool:
    """Whether a host has anything that was not delivered."""
    return _size(host) > 0 or more_waits(host)


def more_waits(host: HostPaths) -> bool:
    """Whether a host has anything that was not delivered besides the open segment."""
    return (
        bool(segments.sealed_segments(host))
        or bool(batch.unfinished(host, owner=""))
        or bodies_wait(host)
        or any(any(grown_segments(directory)) for directory in segments.listing(host.outbox))
    )


def bodies_wait(host: HostPaths) -> bool:
    """Whether a host has committed bodies."""
    return any(has_bodies(directory) for directory in segments.listing(host.outbox))


def adoptable(
    home: Home, own: str, after_s: float, now: Callable[[], float], *, if_asked: bool = False
) -> Iterator[HostPaths]:
    """The other hosts of a home that have something to deliver and nobody who does it.

    Args:
        home: the home.
        own: the name of this host.
        after_s: how long their spool must not have grown.
        now: the time of the file system; asked once, and only if there is a host to ask about.
        if_asked: whether a host that asks for delivery now need not have been quiet.
    """
    waiting = [host for host in hosts(home) if host.name != own and is_waiting(host)]
    if waiting:
        time = now()
        served = presence.served_hosts(home, lambda: time)
        for host in waiting:
            is_due = files.age_s(time, _touched(host)) >= after_s or (if_asked and host.flush.exists())
            if is_due and host.name not in served:
                yield host


def is_waiting(host: HostPaths) -> bool:
    """The same as ``anything_waits`` of a host that may be in trouble of its own, which is not ours."""
    try:
        guard.check(host)
        return anything_waits(host)
    except (OSError, TelemetryError):
        return False


def _size(host: HostPaths) -> int:
    try:
        return os.lstat(host.events).st_size
    except OSError:
        return 0


def _touched(host: HostPaths) -> float:
    times = [0.0]
    for path in (host.events, host.spool):
        try:
            times.append(os.lstat(path).st_mtime)
        except OSError:
            continue
    return max(times)
