"""What is in the way of telemetry in a home, and what would change its consent: sentences for people.

Each says what is wrong, of what, and what to do. Pure looking: this room must never write.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from flwr_telemetry import files, presence, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import Consent, Settings

from ..errors import describe
from ..outbox import forgotten

_MIB = 1024 * 1024
_USUAL_RECORD_BYTES = 1024


def how_to_change(consent: Consent) -> str:
    """One sentence: how to switch telemetry on if it is off, and off if it is on."""
    if consent.enabled:
        return "To switch it off: `flwr-telemetry disable`, or set FLWR_TELEMETRY_ENABLED=0."
    if consent.malformed:
        return "To change that, correct the file or remove it."
    return {
        "site file": "Only who keeps this machine can change that: it is set for the whole site.",
        "user file": "To switch it on: `flwr-telemetry enable`.",
        "FLWR_TELEMETRY_ENABLED": "To switch it on, unset FLWR_TELEMETRY_ENABLED or set it to 1.",
        "DO_NOT_TRACK": "To switch it on, unset DO_NOT_TRACK or set FLWR_TELEMETRY_ENABLED=1.",
        "owner": "To change that, run as its owner, or set FLWR_HOME to a directory of your own.",
    }.get(consent.decided_by, "")


def find_problems(home: Home, now: Settings) -> list[str]:
    """What keeps events of this host from being recorded or delivered, as far as the home shows it."""
    if now.consent.decided_by == "owner":
        return []  # that it is another user's says all; nobody is to be told to remove it
    found = [*unsafe(home)]
    if not found:
        found += _neighbours(home)
    identity = None if found else source.read(home.source)
    if identity == source.INVALID:
        found.append(f"{home.source} holds no UUID; remove it, and the next event makes a new one")
    elif identity == source.UNAVAILABLE:
        found.append(f"{home.source} cannot be read; remove it, and the next event makes a new one")
    elif identity is not None:
        found += _forgotten(home, identity)
    if now.consent.enabled and not found:
        found += _unwritable(home)
        found += _at_cap(home.host(), now.limits.spool_max_mib)
    return found


def can_be_read(home: Home) -> bool:
    """Whether it is safe and possible to look below ``telemetry/``."""
    try:
        _check(home.telemetry)
    except (OSError, TelemetryError):
        return False
    return True


def _check(path: Path) -> None:
    """Raise unless ``path`` is a directory of ours that can be looked into."""
    files.check_directory(path)
    if not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def unsafe(home: Home) -> Iterator[str]:
    """Whatever stands where a directory of ours should be, or cannot be read: one sentence, or none."""
    try:
        if not stat.S_ISDIR(os.stat(home.path).st_mode):
            yield f"{home.path} is no directory; move it away or set FLWR_HOME"
            return
        host = home.host()
        for path in (home.telemetry, host.root, host.spool):
            _check(path)
    except FileNotFoundError:
        return  # nothing was recorded yet
    except (OSError, TelemetryError) as error:
        yield describe(error, home.path)


def _neighbours(home: Home) -> Iterator[str]:
    """Whatever stands where a room or a file of ours should be, and is none: it is refused, not followed."""
    host = home.host()
    for room in host.directories:
        if room != host.spool:
            yield from _told(files.check_directory, room)
    for path in (*host.files, home.forgotten, *presence.heartbeat_files(home)):
        yield from _told(files.check_file, path)


def _forgotten(home: Home, source_id: str) -> Iterator[str]:
    """Whether what is reported from here is deleted, as after a file was put back that had been removed."""
    try:
        if forgotten.notes(home, source_id):
            yield f"{home.source} holds an ID that was forgotten, and what carries it is deleted; remove it"
    except (OSError, TelemetryError) as error:
        yield describe(error, home.forgotten)


def _told(check: Callable[[Path], None], path: Path) -> Iterator[str]:
    try:
        check(path)
    except FileNotFoundError:
        return
    except (OSError, TelemetryError) as error:
        yield describe(error, path)


def _unwritable(home: Home) -> Iterator[str]:
    """Why the next event could not be written, if the system tells."""
    host = home.host()
    candidates = (host.spool, host.root, home.telemetry, home.path, *home.path.parents)
    place = next((path for path in candidates if os.path.isdir(path)), home.path)
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} cannot be written to; set FLWR_HOME to a writable directory"
        return
    disk = os.statvfs(place)
    if (disk.f_blocks and not disk.f_bavail) or (disk.f_files and not disk.f_favail):
        yield f"the disk of {place} is full; free some space or set FLWR_HOME"


def _at_cap(host: HostPaths, spool_max_mib: float) -> Iterator[str]:
    """Writers drop what would take the open segment over the cap."""
    try:
        size_bytes = os.lstat(host.events).st_size
    except OSError:
        return
    if size_bytes and size_bytes + _USUAL_RECORD_BYTES > spool_max_mib * _MIB:
        yield f"{host.events} is at its cap (spool_max_mib); run `flwr-telemetry flush`"
