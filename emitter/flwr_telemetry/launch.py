"""Decides whether this process starts a sidecar; ``spawn.py`` starts it.

Each of these guards prevents a start. They are checked in this order:

1. a sidecar holds its lock
2. the heartbeat of a service is fresh
3. the setting ``sidecar`` is ``never``
4. this process was started by a sidecar
5. this process belongs to a batch job
6. a sidecar was started a moment ago
7. telemetry is off by now

Then the process takes the lock, or creates a file in its place if no lock can be relied on. It checks 6 once
more. It gives up if no process reaps sidecars (``reaper.py``), or if a package of the sidecar cannot be found
(``package_files.py``). Two sidecars start only in a rare race without locks. No process waits for a sidecar
to be ready.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Mapping
from types import ModuleType

from . import files, presence, system
from .errors import StartError
from .imports import undisturbed
from .layout import Home, HostPaths
from .locks import LockResult, try_exclusive
from .named import Any
from .presence import GUARD
from .settings import Settings

_BATCH_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")

_STARTED_MARK = "started {:<31}\n"
"""The content of the lock file after a start. It names the last sidecar if that was a zombie."""

_MARK_BYTES = 40


class Wake(enum.Enum):
    """The answer to a request for a sidecar."""

    ALIVE = "one runs on this host"
    SERVED = "a service serves this home"
    STARTED = "one was started"
    THROTTLED = "one was started a moment ago"
    NOT_ALLOWED = "this process may not start one"


def wake(
    home: Home, host: HostPaths, chosen: Settings, environ: Mapping[str, str], may_create: Callable[[], bool]
) -> Wake:
    """Make sure that a sidecar or a service delivers the spool of ``host``, if that is allowed.

    Args:
        home: the home.
        host: this host; its directory exists.
        chosen: the settings of this process; ``sidecar`` and ``respawn_s`` count.
        environ: this process's variables.
        may_create: consent, read again; called before a file is created.

    Raises:
        StartError: none can be started from this process, or so far none has lived.
        OSError, SpoolUnsafeError: the system's refusal; no event is lost by it.
    """
    if presence.alive(host):
        return Wake.ALIVE
    if presence.has_fresh_heartbeat(home, lambda: presence.last_touched(host)):
        return Wake.SERVED
    respawn_s = chosen.limits.respawn_s
    if not may_start(chosen, environ):
        return Wake.NOT_ALLOWED
    if _started_lately(host, respawn_s):
        return Wake.THROTTLED
    if not may_create():
        return Wake.NOT_ALLOWED
    found: list[Any] = []
    outcome = _claim_start(host, respawn_s, lambda: found.append(_sidecar(home, host, environ)))
    if outcome is Wake.STARTED:
        spawn, _, _ = _for_a_start()
        spawn.start(*found, host)
    return outcome


def _sidecar(home: Home, host: HostPaths, environ: Mapping[str, str]) -> Any:
    """The ``spawn.Sidecar`` to start from this process."""
    spawn, _, start_errors = _for_a_start()
    try:
        return spawn.sidecar(home, environ)
    except (StartError, ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        # A program may have replaced or removed what this asks, such as `sys.executable`.
        reason = str(error) if isinstance(error, StartError) else f"{type(error).__name__}: {error}"
        start_errors.refuse(host, reason)
        raise StartError(reason) from error


def may_start(chosen: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the settings and variables of a process allow it to start a sidecar."""
    if chosen.sidecar == "never" or GUARD in environ:
        return False
    return chosen.sidecar == "always" or not in_batch_job(environ)


def in_batch_job(environ: Mapping[str, str]) -> bool:
    """Whether this process belongs to a job of a batch system, which kills what a job leaves behind."""
    is_grid_engine = bool(environ.get("JOB_ID") and environ.get("SGE_ROOT"))
    return is_grid_engine or any(map(environ.get, _BATCH_JOBS))


@undisturbed
def _for_a_start() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Few processes start a sidecar, so these imports wait."""
    from . import reaper, spawn, start_errors

    return spawn, reaper, start_errors


def _started_lately(host: HostPaths, respawn_s: float) -> bool:
    """Whether the lock file shows a start less than ``respawn_s`` ago, in either direction.

    A start in an earlier container does not count. Otherwise containers that live for seconds might start a
    sidecar only at their ends.

    Raises:
        StartError: the last starts were in vain, and the longer time after them is not over.
    """
    try:
        last = host.lock.stat()
    except OSError:
        return False
    age_s = presence.last_touched(host) - last.st_mtime
    if not last.st_size or presence.is_from_before(age_s):
        return False
    if abs(age_s) < respawn_s:
        return True
    if os.path.lexists(host.start_errors):
        _, _, start_errors = _for_a_start()
        found = start_errors.read(host)
        if found is not None and abs(age_s) < found.pause_s:
            raise StartError(f"{found}; `flwr-telemetry doctor` tells more")
    return False


def _claim_start(host: HostPaths, respawn_s: float, prepare: Callable[[], object] = object) -> Wake:
    """Claim the right to start, which one process gets.

    Args:
        host: this one.
        respawn_s: the least time between two starts, in seconds.
        prepare: called by the process that gets it. If it raises, nothing is claimed.
    """
    with files.opened(host.lock, os.O_RDWR | os.O_CREAT) as descriptor:
        result = try_exclusive(descriptor)
        if result is LockResult.BUSY:
            return Wake.ALIVE
        has_lock = result is LockResult.HELD
        with contextlib.nullcontext(True) if has_lock else files.claimed(host.starting) as is_ours:
            if not is_ours or _started_lately(host, respawn_s):
                return Wake.THROTTLED
            mark = system.pread(descriptor, _MARK_BYTES, 0).decode("ascii", "replace")
            age_s = presence.last_touched(host) - os.fstat(descriptor).st_mtime
            _, reaper, _ = _for_a_start()
            left = reaper.take_former(host, mark.removeprefix("started").strip(), age_s)
            prepare()
            # The write sets the file's time by its own file system. While the size is 0, no sidecar was
            # started.
            system.pwrite(descriptor, _STARTED_MARK.format(left).encode(), 0)
            return Wake.STARTED


def request_flush(host: HostPaths) -> None:
    """Ask the sidecar or the service of this host to deliver now."""
    files.ensure_directory(host.spool)
    files.touch(host.flush)
    presence.signal_service(host)
