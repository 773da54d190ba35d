"""Problems of a home, and how to change its consent, as sentences for people.

A sentence names the file, the problem and what to do. This module never writes.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flwr_telemetry import files, machine, presence, source, start_errors, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import DEFAULT_URL, Consent, Settings

from ..errors import attempt, describe
from ..outbox import forgotten

T = TypeVar("T")

SOURCE_FAULTS = {source.INVALID: "holds no UUID", source.UNAVAILABLE: "cannot be read"}
"""The faults of the file with the source ID."""

_MIB = 1024 * 1024
_USUAL_RECORD_BYTES = 1024
_STARTING_S = 10.0
"""A sidecar that said nothing may still be starting for so long."""

_LOOK_AGAIN_S = 0.3

_SET_URL = "nothing is sent until you run `flwr-telemetry config set url URL`"
_NEVER_LIVED = "the events wait: repair that, then run `flwr-telemetry flush`"
_NEVER_STARTED = "the events wait: run a service, or `flwr-telemetryd --once` from time to time"


def how_to_change(consent: Consent) -> str:
    """One sentence: how to switch telemetry on if it is off, and off if it is on."""
    if consent.enabled:
        return "To switch it off: `flwr-telemetry disable`, or set FLWR_TELEMETRY_ENABLED=0."
    if consent.malformed:
        return "To change that, correct the file or remove it."
    return {
        "site file": "Only an administrator can change that, because the file is for the whole site.",
        "user file": "To switch it on: `flwr-telemetry enable`.",
        "FLWR_TELEMETRY_ENABLED": "To switch it on, unset FLWR_TELEMETRY_ENABLED or set it to 1.",
        "DO_NOT_TRACK": "To switch it on, unset DO_NOT_TRACK or set FLWR_TELEMETRY_ENABLED=1.",
        "owner": "To change that, run as its owner, or set FLWR_HOME to a directory of your own.",
    }.get(consent.decided_by, "")


def public_consent(consent: Consent) -> dict[str, Any]:
    """The consent as ``status --json`` shows it: ``enabled``, ``decided_by``, ``reason`` and ``change``."""
    shown = consent._asdict()
    del shown["malformed"]
    return {**shown, "change": how_to_change(consent)}


def find_problems(home: Home, now: Settings) -> list[str]:
    """The problems that keep events of this host from being recorded or delivered, by the files."""
    if now.consent.decided_by == "owner":
        return []  # another user's home: the reason says all, and nobody must be told to remove its files
    found = [*unsafe(home)] or [*_unsafe_entries(home)] or [*_source(home)]
    if now.consent.enabled and not found:
        found = [*_unwritable(home), *_at_cap(machine.own_host(home), now.limits.spool_max_mib)]
        found += [] if now.kept_by else [*collector_settings(now)]
    return found


def can_be_read(home: Home) -> bool:
    """Whether it is safe and possible to read below ``telemetry/``."""
    try:
        _check(home.telemetry)
    except (OSError, TelemetryError):
        return False
    return True


def read_each(
    paths: Callable[[], Iterable[Path]], read: Callable[[Path], Iterable[T]], problems: dict[str, None]
) -> Iterator[T]:
    """Everything that ``read`` gives for each path. A file that has moved on is skipped.

    Args:
        paths: lists the files.
        read: reads one file.
        problems: receives a sentence for each file that cannot be read; the others are read all the same.
    """
    try:
        for path in paths():
            try:
                yield from read(path)
            except FileNotFoundError:
                continue  # it has moved on
            except (OSError, TelemetryError) as error:
                problems[describe(error, path)] = None
    except (OSError, TelemetryError) as error:
        problems[describe(error, None)] = None


def nearest_directory(home: Home) -> Path:
    """The directory in which the next file will be made, or the nearest parent that exists."""
    host = machine.own_host(home)
    candidates = (host.spool, host.root, home.telemetry, home.path, *home.path.parents)
    return next(path for path in candidates if os.path.isdir(path))


def unsafe(home: Home) -> Iterator[str]:
    """The problem of the first directory that is no directory of ours or cannot be read; none without one."""
    try:
        if not stat.S_ISDIR(os.stat(home.path).st_mode):
            yield f"{home.path} is no directory; move it away or set FLWR_HOME"
            return
        host = machine.own_host(home)
        for path in (home.telemetry, host.root, host.spool):
            _check(path)
    except FileNotFoundError:
        return  # nothing was recorded yet
    except (OSError, TelemetryError) as error:
        yield describe(error, home.path)


def _check(path: Path) -> None:
    """Raise unless ``path`` is a directory of ours that can be read."""
    files.check_directory(path)
    if not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _unsafe_entries(home: Home) -> Iterator[str]:
    """A problem for each directory and file of this host that is not ours, because no program will use it."""
    host = machine.own_host(home)
    checks = [(files.check_directory, path) for path in host.directories if path != host.spool]
    plain_files = (*host.files, home.forgotten, *presence.heartbeat_files(home))
    checks += [(files.check_file, path) for path in plain_files]
    for check, path in checks:
        yield from attempt(path, check)


def _source(home: Home) -> Iterator[str]:
    """A problem if there is no valid source ID, or if it was forgotten: a backup may have been restored."""
    identity = source.read(home.source)
    try:
        if identity in SOURCE_FAULTS:
            yield f"{home.source} {SOURCE_FAULTS[identity]}; remove it, and the next event makes a new one"
        elif identity is not None and forgotten.notes(home, identity):
            yield f"{home.source} holds an ID that was forgotten, and its events are deleted; remove it"
    except (OSError, TelemetryError) as error:
        yield describe(error, home.forgotten)


def _unwritable(home: Home) -> Iterator[str]:
    """The reason why the next event cannot be written, if the system shows one."""
    place = nearest_directory(home)
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} cannot be written to; set FLWR_HOME to a writable directory"
        return
    if system.is_full(place):
        yield f"the disk of {place} is full; free some space or set FLWR_HOME"


def never_lived(host: HostPaths, now_s: Callable[[], float]) -> Iterator[str]:
    """A problem if the last sidecars of a host died before they had a log, or none could be started.

    Args:
        host: the host; no sidecar runs there.
        now_s: gives the time of the file system.
    """
    found = start_errors.read(host)
    if found is None:
        return
    started_s = max(presence.modification_times(host.start_errors), default=0.0)
    if found.last_line or found.starts > 1 or files.age_s(now_s(), started_s) > _STARTING_S:
        yield f"{found}; {_NEVER_LIVED if found.starts else _NEVER_STARTED}"


def held_in_vain(host: HostPaths) -> Iterator[str]:
    """A problem if the lock of this host's sidecar is held, and its holder delivers nothing.

    The sidecar may be stopped (SIGSTOP). Or another program has locked the file: then every event finds that
    a sidecar lives, and none ever starts.
    """
    state = presence.sidecar_state(host)
    if state is not None and presence.state_claims_alive(host):
        found = presence.process_status(state.pid)
        if found is not None and found.state in presence.STOPPED:
            who = f"the sidecar (process {state.pid})"
            yield f"{who} is stopped, so the events wait; run `kill -CONT {state.pid}`"
        return
    holder = _stranger(host)
    if holder is None:
        return
    time.sleep(_LOOK_AGAIN_S)  # our own programs take the lock for a moment, and a sidecar may have begun
    if _stranger(host) == holder and not presence.state_claims_alive(host):
        who = f"another program ({holder})" if holder else "another program"
        how = "end it" if holder else f"find it by `lsof {host.lock}`, and end it"
        yield f"{who} holds the lock {host.lock}, so no sidecar can start and the events wait; {how}"


def _stranger(host: HostPaths) -> str | None:
    """A program that holds the sidecar's lock for a while, in words, and is none of ours; None without one.

    Empty for one that cannot be named: the process that took the lock is gone, and a child of it has it now.
    """
    try:
        if not presence.alive(host):
            return None
        inode, pid = os.stat(host.lock).st_ino, 0
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            for line in table:  # "1: FLOCK ADVISORY WRITE 812 08:01:131 0 EOF", proc_locks(5)
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                    pid = int(words[4])
    except (OSError, TelemetryError, LookupError, ValueError):
        return None
    if pid <= 0:
        return None  # a process of another container
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return ""
    is_ours = any(os.path.basename(word).startswith("flwr") for word in command)
    return None if is_ours else f"{os.path.basename(command[0])}, process {pid}"


def _at_cap(host: HostPaths, spool_max_mib: float) -> Iterator[str]:
    """A problem if the open segment is at its cap, because writers drop new events then."""
    size_bytes = size_of(host.events)
    if size_bytes and size_bytes + _USUAL_RECORD_BYTES > spool_max_mib * _MIB:
        yield f"{host.events} is at its cap (spool_max_mib); run `flwr-telemetry flush`"


def collector_settings(now: Settings) -> Iterator[str]:
    """The problem of settings that belong to the ``url``, for which nothing is sent; none without one."""
    is_for_own = now.format == "otlp" or now.headers_file or now.client_cert or now.client_key
    if now.url == DEFAULT_URL and is_for_own:
        yield f"format, headers_file and client_cert are for a collector of your own; {_SET_URL}"
    elif now.headers_file:
        from ..delivery.credentials import Credentials, CredentialsError

        try:
            Credentials(now).headers()
        except CredentialsError as error:
            yield str(error)


def size_of(path: Path) -> int:
    """The size of a file in bytes; 0 without one."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
