"""Housekeeping: caps, the heartbeat, temporary files, and directories of hosts that are gone.

Each has its own interval, so that a pass over a quiet home stays cheap.

A container has a new host name at every start, so a home would fill up with empty directories. They are
deleted after a while, with the state files in them. Their counters are added to this host's. The system
removes a directory only while it is empty: a writer that comes at the same moment keeps its directory or
makes it again, and no event is lost. This module never deletes a file that holds an event.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from pathlib import Path

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.locks import LockResult

from ..clock import SteadyTime, Timer
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
        timers = (Timer(runtime.clock.monotonic) for _ in range(3))
        self._caps_timer, self._hosts_timer, self._heartbeat_timer = timers
        self._sealed_before = 0
        self._has_heartbeat = False

    def keep_caps(self) -> None:
        """Enforce the caps once a minute, and after each sealed segment."""
        if self._caps_timer.is_due(RETENTION_S) or self._batcher.sealed != self._sealed_before:
            self._sealed_before = self._batcher.sealed
            if dropped := enforce(self._runtime.home, self._runtime.limits, self._steady_time()):
                log.warning("%d events dropped: a cap of size or age was reached", dropped)

    def prune(self) -> None:
        """Delete the empty directories of hosts that are gone, at most once a minute; see ``prune_hosts``."""
        runtime = self._runtime
        after_s = gone_after_s(runtime.mode, runtime.limits)
        if self._hosts_timer.is_due(min(after_s, RETENTION_S)) and len(known_hosts(runtime.home)) > 1:
            names = prune_hosts(runtime.home, runtime.host, runtime.state, after_s, runtime.file_system_now())
            if names:
                log.info("deleted the empty directories of hosts that are gone: %s", ", ".join(names))

    def write_heartbeat(self) -> None:
        """Renew the file that tells every host of the home that a service runs here."""
        if not self._heartbeat_timer.is_due(HEARTBEAT_S):
            return
        heartbeat = self._runtime.home.heartbeat(self._runtime.host.name)
        if self._has_heartbeat and heartbeat.exists():
            # No rename, because it changes the directory's time, which wakes the other sidecars.
            files.touch(heartbeat)
        else:
            files.replace_bytes(heartbeat, b'{"pid": %d}\n' % os.getpid())
            self._has_heartbeat = True


def prune_hosts(home: Home, own: HostPaths, state: State, after_s: float, now: float) -> list[str]:
    """Delete the directories of hosts that hold no event and did not change for a while.

    Args:
        home: the home.
        own: this host, which stays. The drops of the other hosts are added to its own.
        state: the state of this host's sidecar. The counters of the other hosts are added to it.
        after_s: for how long nothing of a host must have changed.
        now: the file system's time, in seconds since the epoch.

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
    times = presence.modification_times(host.root, *host.directories, *host.files)
    if not is_ours(host) or any(files.age_s(now, time) < after_s for time in times):
        return False
    kept = (host.sent, host.rejected, host.damaged)
    return not (anything_waits(host) or any(map(entry_names, kept)) or presence.alive(host))


def _remove(host: HostPaths, own: HostPaths, state: State) -> bool:
    """Delete a host's directory; False if it holds something to keep, even if that came only just now."""
    purge.remove_leftovers(host)
    _clear_spool(host)
    try:
        for directory in host.directories:
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()
        # A rename takes the counters, so that only one of two sidecars adds them.
        former = State.load(host)
        if (taken := _take(host.state, own)) is not None:
            state.add(former)
            taken.unlink()
        if (taken := _take(host.dropped, own)) is not None:
            files.append_bytes(own.dropped, b"\0" * taken.stat().st_size)
            taken.unlink()
        state_files = (host.lock.name, host.log.name, host.not_before.name, host.start_errors.name)
        for path in listing(host.root):
            if path.name.endswith(files.PART_SUFFIX) or path.name.startswith(state_files):
                path.unlink(missing_ok=True)
        host.root.rmdir()
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    return True


def _take(path: Path, own: HostPaths) -> Path | None:
    """Rename another host's file to a temporary file here; None if it is gone."""
    taken = own.root / f".{path.name}.{secrets.token_hex(4)}{files.PART_SUFFIX}"
    try:
        os.rename(path, taken)
    except FileNotFoundError:
        return None
    return taken


def _clear_spool(host: HostPaths) -> None:
    """Delete a request for delivery, and an empty segment."""
    host.flush.unlink(missing_ok=True)
    with (
        contextlib.suppress(FileNotFoundError),
        files.opened(host.events, os.O_RDWR) as descriptor,
        sealer_lock(descriptor, 0) as result,
    ):
        # A writer that appends to it later sees that it has no name, and appends again.
        if result is not LockResult.BUSY and os.fstat(descriptor).st_size == 0:
            segments.remove(descriptor, host.events)
