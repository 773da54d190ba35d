"""Housekeeping: caps, the heartbeat, temporary files, and directories of hosts that are gone.

Each has its own interval, so that a pass over a quiet home stays cheap.

A container has a new host name at every start, so a home would fill up with directories. A host that is gone
leaves its archive to a common one (``outbox/common.py``). Then its directory is deleted, with the state files
in it. Its counters are added to this host's. The system removes a directory only while it is empty. So a
writer that comes at the same moment keeps its directory or makes it again, and no event is lost. This module
never deletes a file that holds an event.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
from pathlib import Path

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult

from ..clock import SteadyTime, Timer
from ..outbox import common, purge
from ..outbox.backlog import anything_waits
from ..outbox.retention import BatchSums, enforce_archives, enforce_unsent
from ..runtime import Runtime
from ..spool import segments
from ..spool.directory import entry_names, is_ours, known_hosts, listing
from ..spool.locks import sealer_lock
from ..state import State
from .batcher import Batcher
from .schedule import gone_after_s

HEARTBEAT_S = 30.0
RETENTION_S = 60.0
PRUNE_S = 3.0
"""The longest time for which directories of other hosts are deleted, in seconds, each time."""

PRUNE_HOSTS = 300
"""At most so many of them are deleted each time. That takes half a second of processor time."""

log = logging.getLogger("flwr_telemetryd")

DEAD_SERVICE_S = 86_400.0
"""The heartbeat of a service that was killed is kept for so long, because ``status`` names it."""

DRAFT_S = 86_400.0
"""A draft of a whole segment is kept for so long, because a stopped writer may still rename it."""

_AT_ONCE = 20

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}


class Housekeeping:
    """The housekeeping of one run."""

    def __init__(self, runtime: Runtime, batcher: Batcher) -> None:
        self._runtime = runtime
        self._batcher = batcher
        self._steady_time = SteadyTime(runtime.file_system_now, runtime.clock.monotonic)
        timers = (Timer(runtime.clock.monotonic) for _ in range(3))
        self._caps_timer, self._hosts_timer, self._heartbeat_timer = timers
        self._sealed_before, self._sums = 0, BatchSums()
        self._has_heartbeat = False

    def keep_caps(self) -> None:
        """Enforce the caps once a minute, and that of unsent events after each sealed segment, too."""
        is_due = self._caps_timer.is_due(RETENTION_S)
        if is_due or self._batcher.sealed != self._sealed_before:
            self._sealed_before = self._batcher.sealed
            home, limits, now = self._runtime.home, self._runtime.limits, self._steady_time()
            own = self._runtime.host if self._runtime.is_shared else None
            if is_due:
                enforce_archives(home, limits, now, own)
            if dropped := enforce_unsent(home, limits, now, self._sums, own):
                log.warning("events dropped, because a cap of size or age was reached: %d", dropped)

    def prune(self) -> None:
        """Delete what hosts that are gone have left, at most once a minute; see ``prune_hosts``."""
        runtime = self._runtime
        after_s = gone_after_s(runtime.mode, runtime.limits)
        if self._hosts_timer.is_due(min(after_s, RETENTION_S)):
            names = prune_hosts(runtime, after_s)
            if names:
                log.info("deleted the directories of hosts that are gone: %d", len(names))
            if runtime.is_shared:
                remove_old_drafts(runtime.host, runtime.file_system_now())
            ages = presence.heartbeats(runtime.home, runtime.file_system_now)
            for name in (name for name, age_s in ages.items() if age_s >= DEAD_SERVICE_S):
                runtime.home.heartbeat(name).unlink(missing_ok=True)

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
        if self._runtime.is_shared:
            # A copy of this machine that is booted later takes another directory then; see `machine.py`.
            with contextlib.suppress(OSError):
                os.utime(self._runtime.host.machine)


def prune_hosts(runtime: Runtime, after_s: float) -> list[str]:
    """Delete the directories of hosts in which nothing waits and nothing changed for a while.

    Their archives become a part of the common one, and their counters of this host's. A call ends after
    ``PRUNE_S`` or ``PRUNE_HOSTS``, because there may be ten thousand of them.

    Args:
        runtime: the run.
        after_s: for how long nothing of a host must have changed.

    Returns:
        The names of the hosts whose directories are deleted.
    """
    home, clock = runtime.home, runtime.clock
    kept = {runtime.host.name, home.gone_hosts.name}
    others = [host for host in known_hosts(home) if host.name not in kept]
    if not others:
        return []
    now, end = runtime.file_system_now(), clock.monotonic() + PRUNE_S
    served = presence.served_hosts(home, lambda: now)
    # In random order, so that hosts that cannot be deleted do not keep a call from the others.
    random.shuffle(others)
    names: list[str] = []
    for start in range(0, len(others), _AT_ONCE):
        if len(names) >= PRUNE_HOSTS or clock.monotonic() >= end or not runtime.checkpoint():
            break
        some = others[start : start + _AT_ONCE]
        gone = [host for host in some if host.name not in served and _is_gone(host, after_s, now)]
        if gone and not common.take_in(home, gone, is_shared=runtime.is_shared):
            break
        for host in gone:
            remove_old_drafts(host, now)
            if _is_removed(host, runtime.host, runtime.state):
                names.append(host.name)
    return names


def remove_old_drafts(host: HostPaths, now: float) -> None:
    """Delete drafts of whole segments whose writers died; ``now`` is the file system's time."""
    for name in entry_names(host.unsent[0]):
        if name.endswith(files.PART_SUFFIX):
            draft = host.spool / name
            if any(files.age_s(now, time) >= DRAFT_S for time in presence.modification_times(draft)):
                draft.unlink(missing_ok=True)


def _is_gone(host: HostPaths, after_s: float, now: float) -> bool:
    # The directory alone tells of most hosts: each run of a sidecar replaces a file in it.
    if any(files.age_s(now, time) < after_s for time in presence.modification_times(host.root_text)):
        return False
    times = presence.modification_times(*host.directories, *host.files)
    if any(files.age_s(now, time) < after_s for time in times):
        return False
    try:
        return is_ours(host) and not anything_waits(host) and not presence.alive(host)
    except (OSError, TelemetryError):
        return False  # `doctor` names it


def _is_removed(host: HostPaths, own: HostPaths, state: State) -> bool:
    """Delete a host's directory; False if it holds something to keep, even if that came only just now."""
    try:
        purge.remove_leftovers(host)
        _clear_spool(host)
        for directory in host.directories:
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()
        # A rename takes the counters, so that only one of two sidecars adds them.
        former = State.load(host)
        if (taken := _take(host.state, own)) is not None:
            state.add(former)
            taken.unlink()
        if (taken := _take(host.dropped, own)) is not None:
            _add_drops(own, taken.stat().st_size)
            taken.unlink()
        counted = {host.state, host.dropped}  # one that is there again is another one
        state_files = tuple(path.name for path in host.files if path not in counted)
        for path in listing(host.root):
            if path.name.endswith(files.PART_SUFFIX) or path.name.startswith(state_files):
                path.unlink(missing_ok=True)
        host.root.rmdir()
    except FileNotFoundError:
        return False  # another sidecar is deleting it
    except (OSError, TelemetryError) as error:
        if getattr(error, "errno", None) not in _NOT_EMPTY:
            log.warning("the directory of host %s stays: %s", host.name, error)
        return False
    return True


def _add_drops(own: HostPaths, count: int) -> None:
    for start in range(0, count, segments.CHUNK_BYTES):
        files.append_bytes(own.dropped, bytes(min(count - start, segments.CHUNK_BYTES)))


def _take(path: Path, own: HostPaths) -> Path | None:
    """Rename another host's file to a temporary file here; None if it is gone."""
    taken = own.root / f".{path.name}.{os.urandom(4).hex()}{files.PART_SUFFIX}"
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
        if result is not LockResult.BUSY:
            segments.is_removed(descriptor, host.events, 0, result)
