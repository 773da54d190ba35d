"""Checks of a shared home: its file system and mount options, and what its locks and modes are worth.

No fault here is one of locks, modes or clocks, because telemetry does not rely on them. An event is a whole
file there: one rename gives it its name, and another takes it. The checks tell what to expect of the mount.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.mounts import Mount

from ...errors import describe
from .check import Check, fault, note, ok

LOCKS_S = 5.0
"""The longest wait for the answers of a lock manager. A firewall in front of it would hang the caller."""

_PREFIX = ".flwr-telemetry-doctor-"
_NO_LOCKS = "telemetry locks no file there"
_WHOLE = "each event is a whole file there, and neither locks nor clocks decide about it"
_LOCAL = ("nolock", "local_lock=all", "local_lock=flock")
_MEANINGS = {
    **dict.fromkeys(_LOCAL, "other machines do not see its locks"),
    **dict.fromkeys(("soft", "softerr"), "a call fails if the server is slow, and is made again later"),
    "noac": "each check of a file asks the server",
}
_CACHE_TIMES = ("actimeo=", "acreg", "acdir")

_TRY_LOCKS = """
import fcntl, os, sys
def attempt():
    try:
        fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "busy"
    except OSError:
        return "refused"
    return "held"
print(attempt(), attempt(), flush=True)
if os.fork() == 0:
    print(attempt(), flush=True)
else:
    os.wait()
"""
"""Three attempts at the lock of a file: by two descriptors of one process, and by another process."""


def file_system(mount: Mount) -> Check:
    """The kind of a shared file system, and the options that matter."""
    told: dict[str, list[str]] = {}
    for option in sorted(mount.options):
        if meaning := _meaning(option):
            told.setdefault(meaning, []).append(option)
    options = "".join(f"; {', '.join(names)}: {meaning}" for meaning, names in told.items())
    return ok("file system", f"{mount.kind}, shared with other machines: {_WHOLE}{options}")


def _meaning(option: str) -> str:
    if option.startswith(_CACHE_TIMES):
        return "a change by another machine may be seen so many seconds later"
    return _MEANINGS.get(option, "")


def check(place: Path, mount: Mount) -> Iterator[Check]:
    """Try locks and modes on a temporary file in ``place``."""
    try:
        with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=place) as file:
            yield _locks(file.name, mount)
            yield _modes(file.name)
    except (OSError, TelemetryError) as error:
        yield fault("locks", describe(error, place), "make the home writable")


def _locks(path: str, mount: Mount) -> Check:
    words = [sys.executable, "-I", "-S", "-c", _TRY_LOCKS, path]
    child = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        first, second, third = child.communicate(timeout=LOCKS_S)[0].split()
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may be stuck even then
            child.communicate(timeout=1)
        found = f"no answer within {LOCKS_S:g} s, so a program that locks a file there hangs; {_NO_LOCKS}"
        return note("locks", found, "for NFS 3, let both machines reach each other's lock managers")
    except ValueError:
        return note("locks", f"they could not be tried; {_NO_LOCKS}")
    if "refused" in {first, second, third}:
        found = "the file system refuses them"
    elif (first, second) != ("held", "busy"):
        found = "one lock is granted twice"
    elif third != "busy":
        found = "a second descriptor sees a lock, but another process does not"
    else:
        local = sorted(mount.options & {*_LOCAL})
        others = f"other machines do not ({', '.join(local)})" if local else "other machines may"
        found = f"another descriptor and another process see a lock; {others}"
    return ok("locks", f"{found}; {_NO_LOCKS}")


def _modes(path: str) -> Check:
    lasts = True
    for mode in (files.FILE_MODE | files.TOMBSTONE_MODE, files.FILE_MODE):
        os.chmod(path, mode)
        with open(path, "rb") as file:  # an NFS client asks the server when it opens a file
            lasts &= stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode
    lasting = "a mode that is set lasts" if lasts else "a mode that is set does not last"
    return ok("modes", f"{lasting}; telemetry needs no mode on a shared home")
