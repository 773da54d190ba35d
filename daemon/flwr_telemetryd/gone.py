"""Directories of hosts that are empty and gone: a home of many hosts must not fill up with them.

Nodes come and go, and a container has a new name at every start. The system removes a directory only while it
is empty: a writer that comes at the same moment either keeps its own or makes it anew, and no event is lost.
What goes are the books of a former sidecar; what they count is added up.

This room must never delete a file that holds anything of an event.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.locks import LockResult

from . import guard, purge, segments
from .locks import sealer_lock
from .retention import hosts
from .serving import anything_waits
from .state import State

log = logging.getLogger("flwr_telemetryd")

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}


def remove(home: Home, own: HostPaths, state: State, after_s: float, now: float) -> list[str]:
    """Remove what hosts left that have nothing any more and were not seen for a while.

    Args:
        home: the home.
        own: this host, which stays, and is credited with the drops of the others.
        state: of this host's sidecar, which is credited with the counters of theirs.
        after_s: for how long nothing of a host must have changed.
        now: the time of the file system.

    Returns:
        The names of the hosts that are gone.
    """
    names = []
    served = presence.served_hosts(home, lambda: now)
    for host in hosts(home):
        if host.name != own.name and host.name not in served and _is_gone(host, after_s, now):
            try:
                if _remove(host, own, state):
                    names.append(host.name)
            except FileNotFoundError:
                continue  # another sidecar is at it
            except (OSError, TelemetryError) as error:
                log.warning("the empty directory of host %s stays: %s", host.name, error)
    return names


def _is_gone(host: HostPaths, after_s: float, now: float) -> bool:
    if not guard.holds(host) or any(files.age_s(now, time) < after_s for time in _times(host)):
        return False
    if anything_waits(host) or any(map(segments.names, (host.sent, host.rejected, host.damaged))):
        return False
    return not presence.alive(host)


def _times(host: HostPaths) -> Iterator[float]:
    for path in (host.root, *host.rooms, *host.files):
        with contextlib.suppress(OSError):
            yield path.lstat().st_mtime


def _remove(host: HostPaths, own: HostPaths, state: State) -> bool:
    """Remove a host's directory; False if something in it is to be kept, or came just now."""
    purge.leftovers(host)
    _clear_spool(host)
    try:
        for room in host.rooms:
            with contextlib.suppress(FileNotFoundError):
                room.rmdir()
        # What counts is taken by a rename, so that of two sidecars one adds it up.
        former = State.load(host)
        if (taken := _take(host.state, own)) is not None:
            state.add(former)
            taken.unlink()
        if (taken := _take(host.dropped, own)) is not None:
            files.append_bytes(own.dropped, b"\0" * taken.stat().st_size)
            taken.unlink()
        for path in segments.listing(host.root):
            if _is_book(host, path):
                path.unlink(missing_ok=True)
        host.root.rmdir()
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    return True


def _take(path: Path, own: HostPaths) -> Path | None:
    """Make a file of another host a draft of ours; None if there is none, or another sidecar was first."""
    taken = own.root / f".{path.name}.{secrets.token_hex(4)}{files.PART_SUFFIX}"
    try:
        os.rename(path, taken)
    except FileNotFoundError:
        return None
    return taken


def _clear_spool(host: HostPaths) -> None:
    """Remove what asks for nothing any more: a call for delivery, a segment that never held anything."""
    host.flush.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        descriptor = files.open_file(host.events, os.O_RDWR)
        try:
            with sealer_lock(descriptor, 0) as result:
                # A writer that appends to it after all sees that it has no name, and does so once more.
                if result is not LockResult.BUSY and os.fstat(descriptor).st_size == 0:
                    segments.remove(descriptor, host.events)
        finally:
            os.close(descriptor)


def _is_book(host: HostPaths, path: Path) -> bool:
    """Whether this is the lock, the log, a ``Retry-After``, or a draft of one of a sidecar's files."""
    if path.name.endswith(files.PART_SUFFIX):
        return True
    return path.name.startswith((host.lock.name, host.log.name, host.not_before.name))
