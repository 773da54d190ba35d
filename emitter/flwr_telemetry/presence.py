"""Tells whether a sidecar or a service lives; the only reader of heartbeats and of ``sidecar.json``.

In: the lock, the state and the heartbeats of a home. Out: ages, answers and signals. Every age is a
difference between two times of the home's file system, because the clocks of hosts that share a home differ.

This module never starts a process, and never leaves a file behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from . import files, system
from .errors import TelemetryError
from .imports import psutil, undisturbed
from .layout import HEARTBEAT_PREFIX, Home, HostPaths, is_heartbeat
from .locks import LockResult, try_exclusive
from .named import Any, NamedTuple

NAME = "flwr-telemetryd"
"""The name of a sidecar's process: an argument, and the ``comm`` of proc(5)."""

GUARD = "FLWR_TELEMETRYD"
"""Set in a sidecar's environment, so that no code in it can start another."""

HEARTBEAT_FRESH_S = 90.0
"""A service whose heartbeat is younger serves its home."""

SERVICE_MODE = "service"
"""The mode of a service in ``sidecar.json``."""

LONGEST_AGE_S = 1e9
"""The largest age of a heartbeat, because JSON has no infinity."""

ZOMBIE = "Z"
"""The state of a process that has ended and was not reaped."""

STOPPED = frozenset("Tt")
"""The states of a process that a signal or a debugger has stopped."""

_PROC = "/proc/self"
"""Where it is missing, psutil tells of processes, if it can."""

_MAX_STATE_BYTES = 64 * 1024

_MAX_USES = 30
"""After this number of uses ``telemetry/`` is listed again, even if its time is the same. Two changes within
one tick of the file system's clock have one time, and a network file system may show a change late."""


# Heartbeats


def heartbeat_files(home: Home) -> list[Path]:
    """The heartbeat files of all hosts, in the order of their names.

    Raises:
        OSError: ``telemetry/`` is there and cannot be listed.
    """
    return [home.telemetry / name for name in files.entry_names(home.telemetry) if is_heartbeat(name)]


_listed: tuple[Path, object, int, list[Path]] = (Path(), None, 0, [])
"""The directory, its signature before it was listed, the uses of that list, and the heartbeats in it."""


def _known_heartbeat_files(home: Home) -> list[Path]:
    """As ``heartbeat_files``, but the directory is listed only if it has changed since the last call.

    A process asks once a second, and a home may have the directories of ten thousand hosts.
    """
    global _listed  # noqa: PLW0603 - one tuple, replaced at once, so that threads and forks need no lock
    telemetry, signature, uses, found = _listed
    now = files.signature(home.telemetry)
    if now is None or (telemetry, signature) != (home.telemetry, now) or uses >= _MAX_USES:
        uses, found = 0, heartbeat_files(home)
    _listed = home.telemetry, now, uses + 1, found
    return found


def heartbeats(home: Home, now: Callable[[], float]) -> dict[str, float]:
    """The age of every heartbeat in seconds, at most ``LONGEST_AGE_S``, by host.

    It is negative if the heartbeat was written after ``now``.

    Args:
        home: the home; without any heartbeat if its directory cannot be listed.
        now: gives the time of the file system; called only if there is a heartbeat.
    """
    beats: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for path in _known_heartbeat_files(home):
            host = path.name.removeprefix(HEARTBEAT_PREFIX).removesuffix(".json")
            for beat in modification_times(path):  # none if the service has just ended and removed it
                beats[host] = beat
    if not beats:
        return {}
    moment = now()
    return {host: min(files.age_s(moment, beat), LONGEST_AGE_S) for host, beat in beats.items()}


def served_hosts(home: Home, now: Callable[[], float]) -> set[str]:
    """The hosts with a service whose heartbeat is fresh; ``now`` as for ``heartbeats``."""
    return {host for host, age_s in heartbeats(home, now).items() if age_s < HEARTBEAT_FRESH_S}


def has_fresh_heartbeat(home: Home, now: Callable[[], float]) -> bool:
    """Whether a service of any host serves this home; ``now`` as for ``heartbeats``."""
    return bool(served_hosts(home, now))


def last_touched(host: HostPaths) -> float:
    """The file system's time for a process that has just appended an event or touched ``flush``.

    Without an open segment, the time of the spool tells when a whole one came, or when the open one went.
    """
    appended = [*modification_times(host.events)] or [*modification_times(host.spool)]
    return max((*appended, *modification_times(host.flush)), default=0.0)


def file_system_now(directory: Path) -> float:
    """The file system's time for a reader that may change nothing: the time of a file without a name.

    If the directory cannot be written, it is the time of this host's clock.
    """
    from tempfile import TemporaryFile

    try:
        with TemporaryFile(prefix=".", suffix=files.PART_SUFFIX, dir=directory) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def modification_times(*paths: Path | str) -> Iterator[float]:
    """The modification times of the paths that exist, in seconds since the epoch."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield os.lstat(path).st_mtime


# The sidecar of a host


class SidecarState(NamedTuple):
    """The process that ``sidecar.json`` names."""

    pid: int
    born: str
    """The result of ``birth`` for it."""
    mode: str
    ended: str
    """When and why it ended; empty while it runs."""


def read_state(host: HostPaths) -> dict[str, Any]:
    """All of ``sidecar.json``; empty if it is missing or damaged."""
    try:
        raw = files.read_bytes(host.state, _MAX_STATE_BYTES)
        found = _json().loads(raw)
    except (OSError, TelemetryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@undisturbed
def _json() -> ModuleType:
    """Few processes read a state where locks work, so this import waits."""
    import json

    return json


def sidecar_state(host: HostPaths) -> SidecarState | None:
    """The process that runs or ran last; None if the file is missing or damaged."""
    found = read_state(host)
    values: list[Any] = [found.get(name) for name in SidecarState._fields]
    is_whole = [type(value) for value in values] == [int, str, str, str] and values[0] > 1
    return SidecarState(*values) if is_whole else None


def alive(host: HostPaths) -> bool:
    """Whether some process holds the sidecar's lock of this host.

    Raises:
        SpoolUnsafeError: another kind of file stands in the place of the lock.
        OSError: the lock cannot be opened.
    """
    result = _lock_of(host)
    return state_claims_alive(host) if result is LockResult.UNSUPPORTED else result is LockResult.BUSY


def _lock_of(host: HostPaths) -> LockResult:
    try:
        with files.opened(host.lock, os.O_RDWR) as descriptor:
            return try_exclusive(descriptor)
    except FileNotFoundError:
        return LockResult.HELD


def state_claims_alive(host: HostPaths) -> bool:
    """Whether ``sidecar.json`` names a process that lives; for file systems without reliable locks."""
    state = sidecar_state(host)
    return state is not None and _runs(state)


def signal_service(host: HostPaths) -> None:
    """Wake a service of this host, which may sleep for half a minute while nothing changes."""
    signal_sidecar(host, SERVICE_MODE, system.RELOAD)


def signal_sidecar(host: HostPaths, mode: str, number: int) -> None:
    """Send a signal to the sidecar of this host if one of this mode certainly lives; never raises.

    A number alone may by now mean a process of the training. So the birth must be the same. Where no birth
    can be known, some sidecar must hold the lock.
    """
    state = sidecar_state(host)
    if state is not None and state.mode == mode and _runs(state):
        with contextlib.suppress(OSError, TelemetryError):
            if birth(state.pid) or _lock_of(host) is LockResult.BUSY:
                system.send_signal(state.pid, number)


def _runs(state: SidecarState) -> bool:
    if state.ended or state.pid == os.getpid():
        return False
    # A number is used again, and means another process in another container.
    return system.exists(state.pid) and lives(state.pid, state.born)


# Processes


class ProcessStatus(NamedTuple):
    """The facts of a process, as proc(5)'s ``stat`` gives them."""

    state: str
    parent: int
    session: int
    start: str
    """A text that is only compared."""


def process_status(pid: int) -> ProcessStatus | None:
    """The status of a process; None if there is none, or nothing tells."""
    found = system.process_facts(pid)
    if found is None and not (system.WINDOWS or os.path.exists(_PROC)):
        found = _facts_by_psutil(pid)
    return None if found is None else ProcessStatus(*found)


def _facts_by_psutil(pid: int) -> tuple[str, int, int, str] | None:
    """The facts on a system without proc(5), such as macOS; None if there is no such process."""
    with contextlib.suppress(Exception):  # psutil raises many things, and it may be missing
        loaded = psutil()
        process = loaded.Process(pid)
        state = {loaded.STATUS_ZOMBIE: ZOMBIE, loaded.STATUS_STOPPED: "T"}.get(process.status(), "S")
        session = -1
        if not system.WINDOWS:
            with contextlib.suppress(OSError):  # a system may not tell that of another user
                session = os.getsid(pid)
        return state, process.ppid(), session, repr(process.create_time())
    return None


def birth(pid: int) -> str:
    """A text that no other process with this number has, here or in another container.

    Empty if there is no such process, or if nothing tells.
    """
    found = process_status(pid)
    if found is None:
        return ""
    try:
        return f"{system.pid_namespace()} {found.start}"
    except OSError:
        return "" if os.path.exists(_PROC) else found.start


def is_from_before(age_s: float) -> bool:
    """Whether something of this age is older than process 1 of this PID namespace.

    A sidecar that was started then ended with its container, or with the machine. False without proc(5).
    """
    first = system.process_facts(1)
    if system.WINDOWS or first is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return False
    start_ticks = int(ProcessStatus(*first).start)
    return age_s > time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")


def lives(pid: int, born: str) -> bool:
    """Whether the process with this number and this ``birth`` runs; true where nothing tells."""
    found = process_status(pid)
    return found is None or (found.state != ZOMBIE and birth(pid) == born)
