"""Finds the directory of a shared home that belongs to this machine, because two machines may have one name.

On a home of this machine alone it is the directory of the host name, and nothing is read or written. On a
shared home (see ``mounts.py``) the directory holds a file ``machine`` with three words: a random salt, the
hash of salt and boot ID, and the hash of salt and machine ID. ``-`` stands for an unknown ID. The IDs
themselves never reach the disk.

A machine that finds the directory of another one tries ``<host>-2`` to ``<host>-9``, and then a name with a
part of its boot ID's hash. So ten thousand machines of one name do not read ten thousand files each.

A directory belongs to this machine if the boot IDs are equal, and to another one if both machine IDs are
known and differ. Otherwise this machine was booted again, or its disk is a copy of another machine's. If the
file was touched since this machine's boot, another machine has done that.

Two machines may share a directory for a moment, for example while both claim it. Nothing is lost or counted
twice by that, because every step on a shared home is a rename or an exclusive creation. No lock is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import files, mounts, presence, system
from .errors import TelemetryError
from .layout import Home, HostPaths, numbered_host
from .named import NamedTuple

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")

_UNKNOWN = "-"
_MAX_BYTES = 1024
_MAX_NUMBERED = 9
_TRIES = 3
_NAME_DIGITS = 8


class _Ids(NamedTuple):
    """The IDs of a machine, or their hashes; empty if unknown."""

    boot: str
    machine: str

    def hashed(self, salt: str) -> _Ids:
        return _Ids(*(_sha256(salt + known) if known else "" for known in self))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def own_host(home: Home, may_claim: Callable[[], bool] = lambda: False) -> HostPaths:
    """The directory of this machine: its own one, or the first that it could claim.

    Args:
        home: the home; it need not exist.
        may_claim: whether consent allows to create files. Called on a shared home only, before the directory
            is created and claimed, or the time of its file ``machine`` is set. A caller that only reads
            leaves it out. Call this again before a directory that has gone is created anew: the name may
            belong to another machine by then.

    Never raises because of the state of the home: the next use of the directory will tell the error.
    """
    ids = _own_ids() if mounts.is_shared(home.path) else _Ids("", "")
    if not any(ids):
        return home.host()
    for _ in range(_TRIES):
        host, is_free = _find(home, ids, may_claim)
        if not is_free or not may_claim():
            break
        try:
            _claim(host, ids)  # the next look tells whether another machine was faster
        except (OSError, TelemetryError):
            break
    return host


def _own_ids() -> _Ids:
    return _Ids(_id(BOOT_ID), _id(MACHINE_ID))


def boot() -> str:
    """A text that stands for this boot of this machine; empty if it is not known. It is not the boot ID."""
    return _sha256(f"boot {known}") if (known := _id(BOOT_ID)) else ""


def _id(path: Path) -> str:
    """The 32 hexadecimal digits in a file; empty without them."""
    with contextlib.suppress(OSError, ValueError):
        digits = path.read_text(encoding="utf-8").strip().replace("-", "").lower()
        return digits if re.fullmatch(r"[0-9a-f]{32}", digits) else ""
    return ""


def _names(host: str, ids: _Ids) -> Iterator[str]:
    """The names that this machine may take, in the order in which it tries them."""
    yield host
    for number in range(2, _MAX_NUMBERED + 1):
        yield numbered_host(host, str(number))
    yield numbered_host(host, _sha256(ids.boot or ids.machine)[:_NAME_DIGITS])


def _find(home: Home, ids: _Ids, may_claim: Callable[[], bool]) -> tuple[HostPaths, bool]:
    """The directory that is this machine's, else the first one that is free; and whether it is free."""
    free = None
    for name in _names(home.host().name, ids):
        host = home.host(name)
        try:
            if _is_own(host, ids, may_claim):
                return host, False
        except FileNotFoundError:
            free = free or host
        except (OSError, TelemetryError):
            return host, False
    return (host, False) if free is None else (free, True)


def _is_own(host: HostPaths, ids: _Ids, may_claim: Callable[[], bool]) -> bool:
    """Whether the file ``machine`` of a directory means this machine.

    Raises:
        FileNotFoundError: there is none, so the directory is free.
    """
    # Opening a file makes an NFS client ask the server, so neither the content nor the time is an old one.
    with files.opened(host.machine, os.O_RDONLY) as descriptor:
        salt, marked = _parsed(os.read(descriptor, _MAX_BYTES))
        own = ids.hashed(salt)
        same_boot, same_machine = (
            ours == theirs if ours and theirs else None for ours, theirs in zip(own, marked, strict=True)
        )
        if same_boot:
            if may_claim():
                system.set_times(descriptor)  # for a copy of this machine that is booted later
            return True
        if same_machine is not None and (same_boot is None or not same_machine):
            return same_machine
        touched_s = os.fstat(descriptor).st_mtime
    may = may_claim()
    # A process that may write nothing has only its own clock.
    now_s = presence.file_system_now(host.root) if may else time.time()
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME)  # type: ignore[attr-defined,unused-ignore]
    if files.age_s(now_s, touched_s) < up_s:
        return False
    if may:
        files.replace_bytes(host.machine, _line(ids))
    return True


def _parsed(line: bytes) -> tuple[str, _Ids]:
    """The salt and the hashes; all are empty if the line is damaged."""
    words = line.decode("ascii", "replace").split()
    salt, *hashes = words if len(words) == 1 + len(_Ids._fields) else ("", "", "")
    return salt, _Ids(*("" if known == _UNKNOWN else known for known in hashes))


def _line(ids: _Ids) -> bytes:
    salt = os.urandom(16).hex()
    return " ".join((salt, *(known or _UNKNOWN for known in ids.hashed(salt)))).encode() + b"\n"


def _claim(host: HostPaths, ids: _Ids) -> None:
    """Create the file ``machine`` with its content, unless another process is first."""
    files.make_home(host.telemetry.parent)
    files.ensure_directory(host.telemetry)
    files.ensure_directory(host.root)
    draft = host.root / f".{host.machine.name}.{os.urandom(8).hex()}{files.PART_SUFFIX}"
    try:
        with files.opened(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            files.write_all(descriptor, _line(ids))
        try:
            system.link(draft, host.machine)
        except FileExistsError:
            pass
        except OSError:  # a share without hard links; the last process keeps the directory
            if not os.path.lexists(host.machine):
                os.rename(draft, host.machine)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(draft)
