"""Checks of the home, its disk, its locks, the clock and the sidecar."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from flwr_telemetry import files, launch, machine, mounts, presence, spawn, system
from flwr_telemetry.bootstrap import IMPORT_ONLY
from flwr_telemetry.errors import StartError, TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult, try_exclusive
from flwr_telemetry.settings import SIDECAR, Settings, sidecar_choice

from ...clock import Clock
from ...errors import describe
from ...inspect.problems import (
    can_be_read,
    find_problems,
    held_in_vain,
    how_to_change,
    nearest_directory,
    never_lived,
    unsafe,
)
from ...spool.directory import check_ownership, foreign_host_entries, known_hosts
from ...state import State
from .check import Check, Verdict, fault, fault_of, note, ok, skipped

_GIB = 1024**3
_LOADING_S = 60.0
_PREFIX = ".flwr-telemetry-doctor-"


def telemetry(now: Settings) -> Check:
    """Whether telemetry is on, and why."""
    consent = now.consent
    if consent.enabled:
        return ok("telemetry", f"on: {consent.reason}")
    verdict = Verdict.FAULT if consent.malformed else Verdict.NOTE
    return Check("telemetry", verdict, f"off: {consent.reason}", how_to_change(consent))


def home(home: Home, now: Settings) -> Iterator[Check]:
    """Whether the home and everything in it belongs to this user and can be written; one check a problem."""
    if now.consent.decided_by == "owner":
        yield note("home", f"{home.path} belongs to another user, and is left alone")
        return
    found = (find_problems(home, now), _open_to_others(home), _other_hosts(home), foreign_host_entries(home))
    problems = list(dict.fromkeys(itertools.chain(*found)))
    yield from (fault_of("home", problem) for problem in problems)
    if not problems:
        place = nearest_directory(home)
        yield ok("home", f"{home.path}, on {file_system(place)}{_free(place)}")


def _free(place: Path) -> str:
    """The free space of the file system of ``place``, in words; empty where the system does not tell it."""
    try:
        return f", {shutil.disk_usage(place).free / _GIB:.1f} GiB free"
    except OSError:
        return ""


def _open_to_others(home: Home) -> Iterator[str]:
    """A problem if every user can replace a file of the home. A group may be the user's own."""
    with contextlib.suppress(OSError):
        is_open = not system.WINDOWS and home.path.stat().st_mode & stat.S_IWOTH
        if is_open:
            advice = files.chmod_advice(files.DIRECTORY_MODE)
            yield f"{home.path} can be written to by everybody; {advice}"


def _other_hosts(home: Home) -> Iterator[str]:
    """The problems that keep the spools of other hosts from being adopted."""
    if can_be_read(home):
        for host in known_hosts(home):
            try:
                check_ownership(host)
            except (OSError, TelemetryError) as error:
                yield describe(error, host.root)


def locks(home: Home) -> Check:
    """Whether file locks work here, tried on a temporary file."""
    place = nearest_directory(home)
    try:
        with (
            tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=place) as first,
            files.opened(first.name, os.O_RDWR) as second,
        ):
            results = (try_exclusive(first.fileno()), try_exclusive(second))
    except (OSError, TelemetryError) as error:
        return fault("locks", describe(error, place), "make the home writable")
    kind = file_system(place)
    if results == (LockResult.HELD, LockResult.BUSY):
        return ok("locks", f"file locks work, on {kind}")
    problem = "refuses file locks" if LockResult.UNSUPPORTED in results else "grants one lock twice"
    found = f"{kind} {problem}; nothing is lost by that, but two sidecars may run"
    advice = "let one service serve this home, and run `flwr-telemetry config set sidecar never`"
    return note("locks", found, advice)


def clock(home: Home, clock: Clock) -> Check:
    """Whether the clock of the file system, which tells ages, agrees with the clock of this machine."""
    ours = clock.time_ns() / 1e9
    try:
        with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=nearest_directory(home)) as file:
            ahead_s = os.fstat(file.fileno()).st_mtime - ours
    except OSError as error:
        return fault("clock", describe(error, home.path), "make the home writable")
    if abs(ahead_s) > files.SKEW_S:
        found = f"the file system's clock and this machine's are {abs(ahead_s):.0f} s apart"
        return fault("clock", found, "set both by NTP; events carry this machine's time")
    agrees = "agrees"
    if abs(ahead_s) >= 1:
        where = "ahead of" if ahead_s > 0 else "behind"
        agrees = f"is {abs(ahead_s):.0f} s {where} it, which does no harm: ages go by the file system alone"
    return ok("clock", f"{datetime.fromtimestamp(ours, UTC):%Y-%m-%d %H:%M:%S} UTC; the file system {agrees}")


def sidecar(home: Home, now: Settings, environ: Mapping[str, str]) -> Check:
    """The process that delivers, and its last error."""
    host = machine.own_host(home)
    if not os.path.lexists(home.telemetry):
        return ok("sidecar", "none runs; nothing was recorded yet")
    if any(unsafe(home)):
        return skipped("sidecar", "unknown, because the home cannot be read")
    try:
        alive = presence.alive(host)
        is_served = presence.has_fresh_heartbeat(home, lambda: presence.file_system_now(home.telemetry))
    except (OSError, TelemetryError) as error:
        return fault_of("sidecar", describe(error, host.lock))
    state = State.load(host)
    for problem in held_in_vain(host) if now.consent.enabled else ():
        return fault_of("sidecar", problem)
    if alive:
        is_known = state.pid and not state.ended
        found = "one runs on this host" + (f" (process {state.pid}, {state.mode})" if is_known else "")
    elif is_served:
        found = "a service on another host serves this home"
    elif not now.consent.enabled:
        return ok("sidecar", "none runs")
    elif now.sidecar == "never" or (now.sidecar == "auto" and launch.in_batch_job(environ)):
        why = "sidecar = never" if now.sidecar == "never" else "this is a batch job"
        found = f"none runs, and none is started from here ({why}); events wait"
        advice = "run `flwr-telemetry service install` on a host with internet, or `flwr-telemetry flush`"
        return note("sidecar", found, advice)
    elif problem := _no_start(home, environ):
        return fault_of("sidecar", problem)
    else:
        found = "none runs; the next event starts one"
    if (word := environ.get(SIDECAR)) and not sidecar_choice(environ):
        found = f"{found}; the variable {SIDECAR} is {word!r}, which counts as not set"
        return note("sidecar", found, "set it to auto, always or never")
    if state.last_error:
        advice = "see the checks below; the events that wait are kept, and are sent later"
        return note("sidecar", f"{found}; its last request failed: {state.last_error}", advice)
    return ok("sidecar", found)


def _no_start(home: Home, environ: Mapping[str, str]) -> str:
    """Why no sidecar lives: what the last one said, or what one says that is started from here for a try."""
    host = machine.own_host(home)
    for problem in never_lived(host, lambda: presence.file_system_now(host.root)):
        return problem
    try:
        tried = spawn.sidecar(home, environ, IMPORT_ONLY)
    except StartError:
        return ""  # this command itself is in an archive; that says nothing about a training
    try:
        done = subprocess.run(  # noqa: S603 - nothing in it comes from outside
            tried.command,
            env=tried.environment,
            cwd="/",
            capture_output=True,
            check=False,
            timeout=_LOADING_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a sidecar cannot be started from here: {error}"
    if not done.returncode:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"a sidecar that is started from here does not live: {said}; reinstall flwr-telemetry"


def file_system(place: Path) -> str:
    """The kind of the file system of ``place``, in words."""
    mount = mounts.find(place)
    if mount is None:
        return "a file system of an unknown kind"
    return f"{mount.kind} (shared with other machines)" if mount.is_shared else mount.kind
