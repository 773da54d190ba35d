"""Housekeeping: caps, the heartbeat, temporary files, and directories of hosts that are gone.

Each has its own interval, so that a pass over a quiet home stays cheap.

A home of many hosts must not fill up, because a container has a new name at every start. So an empty
directory of a host that was not seen for a while is deleted, with the state files in it; its counters are
added to this host's. The system removes a directory only while it is empty: a writer that comes at the same
moment keeps its directory or makes it anew, and no event is lost. This module must never delete a file that
holds an event.
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

from ..clock import SteadyTime
from ..outbox import purge
from ..outbox.backlog import anything_waits
from ..outbox.retention import enforce
from ..runtime import Runtime
from ..spool import segments
from ..spool.directory import entry_names, is_ours, known_hosts, listing
from ..spool.locks import sealer_lock
from ..state import State
from .batcher import Batcher
from .schedule import gone_after_s

HEARTBEAT_S = 30.0


RETENTION_S = 60.0


log = logging.getLogger("flwr_telemetryd")


_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}


class Housekeeping:
    """The housekeeping of one run."""

    def __init__(self, runtime: Runtime, batcher: Batcher) -> None:
        self._runtime = runtime
        self._batcher = batcher
        self._steady_time = SteadyTime(runtime.file_system_now, runtime.clock.monotonic)
        self._next: dict[str, float] = {}
        self._sealed_before = 0
        self._has_heartbeat = False

    def keep_caps(self) -> None:
        """Enforce the caps now and then, and whenever a segment was sealed."""
        if self._is_due("caps", RETENTION_S) or self._batcher.sealed != self._sealed_before:
            self._sealed_before = self._batcher.sealed
            dropped = enforce(self._runtime.home, self._runtime.limits, self._steady_time())
            if dropped:
                log.warning("%d events dropped: a cap of size or age was reached", dropped)

    def prune(self) -> None:
        """Delete now and then the empty directories of hosts that are gone; see ``prune_hosts``."""
        runtime = self._runtime
        after_s = gone_after_s(runtime.mode, runtime.limits)
        if self._is_due("hosts", min(after_s, RETENTION_S)) and len(known_hosts(runtime.home)) > 1:
            names = prune_hosts(runtime.home, runtime.host, runtime.state, after_s, runtime.file_system_now())
            if names:
                log.info("empty directories of hosts that are gone, deleted: %s", ", ".join(names))

    def write_heartbeat(self) -> None:
        """Tell every host of the home that a service delivers this host's events."""
        if not self._is_due("heartbeat", HEARTBEAT_S):
            return
        heartbeat = self._runtime.home.heartbeat(self._runtime.host.name)
        if self._has_heartbeat and heartbeat.exists():
            # No rename: the other sidecars wake when the time of the directory changes.
            files.touch(heartbeat)
        else:
            files.replace_bytes(heartbeat, b'{"pid": %d}\n' % os.getpid())
            self._has_heartbeat = True

    def _is_due(self, name: str, interval_s: float) -> bool:
        now = self._runtime.clock.monotonic()
        is_due = now >= self._next.get(name, now)
        if is_due:
            self._next[name] = now + interval_s
        return is_due


def prune_hosts(home: Home, own: HostPaths, state: State, after_s: float, now: float) -> list[str]:
    """Delete the directories of hosts that hold nothing and were not seen for a while.

    Args:
        home: the home.
        own: this host, which stays; the drops of the others are added to its own.
        state: the state of this host's sidecar; the counters of the others are added to it.
        after_s: how long nothing of a host must have changed.
        now: the file system's time.

    Returns:
        The names of the hosts whose directories are deleted.
    """
    names = []
    served = presence.served_hosts(home, lambda: now)
    for host in known_hosts(home):
        if host.name != own.name and host.name not in served and _is_gone(host, after_s, now):
            try:
                if _remove(host, own, state):
                    names.append(host.name)
            except FileNotFoundError:
                continue  # another sidecar is deleting it
            except (OSError, TelemetryError) as error:
                log.warning("the empty directory of host %s stays: %s", host.name, error)
    return names


def _is_gone(host: HostPaths, after_s: float, now: float) -> bool:
    if not is_ours(host) or any(files.age_s(now, time) < after_s for time in _times(host)):
        return False
    if anything_waits(host) or any(map(entry_names, (host.sent, host.rejected, host.damaged))):
        return False
    return not presence.alive(host)


def _times(host: HostPaths) -> Iterator[float]:
    for path in (host.root, *host.directories, *host.files):
        with contextlib.suppress(OSError):
            yield path.lstat().st_mtime


def _remove(host: HostPaths, own: HostPaths, state: State) -> bool:
    """Delete a host's directory; False if it holds something to keep, or something came just now."""
    purge.remove_leftovers(host)
    _clear_spool(host)
    try:
        for directory in host.directories:
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()
        # The counters are taken by a rename, so that only one of two sidecars adds them.
        former = State.load(host)
        if (taken := _take(host.state, own)) is not None:
            state.add(former)
            taken.unlink()
        if (taken := _take(host.dropped, own)) is not None:
            files.append_bytes(own.dropped, b"\0" * taken.stat().st_size)
            taken.unlink()
        for path in listing(host.root):
            if path.name.endswith(files.PART_SUFFIX) or path.name.startswith(
                (host.lock.name, host.log.name, host.not_before.name)
            ):
                path.unlink(missing_ok=True)
        host.root.rmdir()
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    return True


def _take(path: Path, own: HostPaths) -> Path | None:
    """Make another host's file a temporary file here; None if it is gone, or another sidecar was first."""
    taken = own.root / f".{path.name}.{secrets.token_hex(4)}{files.PART_SUFFIX}"
    try:
        os.rename(path, taken)
    except FileNotFoundError:
        return None
    return taken


def _clear_spool(host: HostPaths) -> None:
    """Delete a request for delivery, and a segment that never held anything."""
    host.flush.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        descriptor = files.open_file(host.events, os.O_RDWR)
        try:
            with sealer_lock(descriptor, 0) as result:
                # A writer that appends to it after all sees that it has no name, and appends again.
                if result is not LockResult.BUSY and os.fstat(descriptor).st_size == 0:
                    segments.remove(descriptor, host.events)
        finally:
            os.close(descriptor)
