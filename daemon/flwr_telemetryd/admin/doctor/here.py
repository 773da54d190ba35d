"""Checks of the home and of what works in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil

from flwr_telemetry import files, launch, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...errors import describe
from ...inspect.problems import can_be_read, find_problems, how_to_change, unsafe
from ...spool.directory import check_ownership, foreign_host_entries, known_hosts
from ...spool.locks import try_exclusive
from ...state import State
from .check import NOT_WRITTEN, Check, Verdict

_GIB = 1024**3
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "glusterfs", "sshfs")
_PREFIX = ".flwr-telemetry-doctor-"


def telemetry(now: Settings) -> Check:
    """Whether it is on, and why."""
    change = how_to_change(now.consent)
    if now.consent.malformed:
        return Check("telemetry", Verdict.FAULT, f"off: {now.consent.reason}", change)
    if now.consent.enabled:
        return Check("telemetry", Verdict.OK, f"on: {now.consent.reason}")
    return Check("telemetry", Verdict.NOTE, f"off: {now.consent.reason}", change)


def home(home: Home, now: Settings) -> Iterator[Check]:
    """Whether the home and what is in it are ours, and can be written to; what cannot is a check each."""
    if now.consent.decided_by == "owner":
        yield Check("home", Verdict.NOTE, f"{home.path} belongs to another user, and is left alone")
        return
    found_by = (
        find_problems(home, now),
        _open_to_others(home),
        _other_hosts(home),
        foreign_host_entries(home),
    )
    problems = list(dict.fromkeys(itertools.chain(*found_by)))
    for problem in problems:
        found, _, advice = problem.rpartition("; ")
        yield Check("home", Verdict.FAULT, found or problem, advice if found else "")
    if not problems:
        place = nearest(home)
        free = psutil.disk_usage(str(place)).free / _GIB
        yield Check("home", Verdict.OK, f"{home.path}, on {_file_system(place)}, {free:.1f} GiB free")


def _open_to_others(home: Home) -> Iterator[str]:
    """Whether anybody at all could replace what is in the home; a group may be the user's own."""
    with contextlib.suppress(OSError):
        if home.path.stat().st_mode & stat.S_IWOTH:
            yield f"{home.path} can be written to by everybody; chmod 700 it"


def _other_hosts(home: Home) -> Iterator[str]:
    """What keeps the spools of other hosts from being adopted."""
    if can_be_read(home):
        for host in known_hosts(home):
            try:
                check_ownership(host)
            except (OSError, TelemetryError) as error:
                yield describe(error, host.root)


def locks(home: Home, *, may_write: bool) -> Check:
    """Whether file locks hold here: tried on a file of our own, which is gone afterwards."""
    if not may_write:
        return Check("locks", Verdict.SKIPPED, NOT_WRITTEN)
    place = nearest(home)
    try:
        with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=place) as first:
            second = files.open_file(first.name, os.O_RDWR)
            try:
                results = (try_exclusive(first.fileno()), try_exclusive(second))
            finally:
                os.close(second)
    except (OSError, TelemetryError) as error:
        return Check("locks", Verdict.FAULT, describe(error, place), "make the home writable")
    kind = _file_system(place)
    if results == (LockResult.HELD, LockResult.BUSY):
        return Check("locks", Verdict.OK, f"file locks work, on {kind}")
    word = "refuses file locks" if LockResult.UNSUPPORTED in results else "grants file locks that do not hold"
    return Check(
        "locks",
        Verdict.NOTE,
        f"{kind} {word}; nothing is lost by that, but two sidecars may run",
        'let one service serve this home, and set sidecar = "never" in config.toml',
    )


def clock(home: Home, clock: Clock, *, may_write: bool) -> Check:
    """Whether the file system's clock, by which ages are told, goes with ours."""
    if not may_write:
        return Check("clock", Verdict.SKIPPED, NOT_WRITTEN)
    ours = clock.time_ns() / 1e9
    try:
        with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=nearest(home)) as file:
            theirs = os.fstat(file.fileno()).st_mtime
    except OSError as error:
        return Check("clock", Verdict.FAULT, describe(error, home.path), "make the home writable")
    ahead_s = theirs - ours
    if abs(ahead_s) > files.SKEW_S:
        found = f"the file system's clock and this machine's are {abs(ahead_s):.0f} s apart"
        return Check("clock", Verdict.FAULT, found, "set both by NTP; events carry this machine's time")
    moment = datetime.fromtimestamp(ours, UTC)
    return Check("clock", Verdict.OK, f"{moment:%Y-%m-%d %H:%M:%S} UTC; the file system agrees")


def sidecar(home: Home, now: Settings, environ: Mapping[str, str]) -> Check:
    """Who delivers, and what it met last."""
    host = home.host()
    if not os.path.lexists(home.telemetry):
        return Check("sidecar", Verdict.OK, "none runs; nothing was recorded yet")
    if any(unsafe(home)):
        return Check("sidecar", Verdict.SKIPPED, "cannot be told, since the home cannot be looked into")
    try:
        alive = presence.alive(host)
        served = presence.has_fresh_heartbeat(home, lambda: presence.file_system_now(home.telemetry))
    except (OSError, TelemetryError) as error:
        return Check("sidecar", Verdict.FAULT, describe(error, host.lock))
    state = State.load(host)
    if alive:
        known = state.pid and not state.ended
        found = "one runs on this host" + (f" (process {state.pid}, {state.mode})" if known else "")
    elif served:
        found = "a service on another host serves this home"
    elif not now.consent.enabled:
        return Check("sidecar", Verdict.OK, "none runs")
    elif now.sidecar == "never" or (now.sidecar == "auto" and launch.in_batch_job(environ)):
        why = "sidecar = never" if now.sidecar == "never" else "this is a batch job"
        return Check(
            "sidecar",
            Verdict.NOTE,
            f"none runs, and none is started from here ({why}); events wait",
            "run `flwr-telemetry service install` where there is a way out, or `flwr-telemetry flush`",
        )
    else:
        found = "none runs; the next event starts one"
    if state.last_error:
        advice = "the checks below tell more; what waits is kept, and tried again"
        return Check("sidecar", Verdict.NOTE, f"{found}; its last request failed: {state.last_error}", advice)
    return Check("sidecar", Verdict.OK, found)


def nearest(home: Home) -> Path:
    """The directory in which the next file would be made, or the nearest that exists."""
    host = home.host()
    candidates = (host.spool, host.root, home.telemetry, home.path, *home.path.parents)
    return next((path for path in candidates if path.is_dir()), Path("/"))


def _file_system(place: Path) -> str:
    """The kind of file system that ``place`` is on, in words."""
    real = os.path.realpath(place)
    mounts = [part for part in psutil.disk_partitions(all=True) if _is_below(real, part.mountpoint)]
    # A later mount hides an earlier one on the same point.
    kind = (
        max(enumerate(mounts), key=lambda item: (len(item[1].mountpoint), item[0]))[1].fstype
        if mounts
        else ""
    )
    if not kind:
        return "a file system of an unknown kind"
    return f"{kind} (over the network)" if any(name in kind for name in _NETWORK) else kind


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
