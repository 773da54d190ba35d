"""Finds the file system of a path, and whether other machines may use its files, too.

The answers come from the table of mounts in proc(5) alone. No call here asks a file server, which might never
answer. So symbolic links are followed only on file systems of this machine.

A file system counts as shared unless it is known to belong to this machine alone. Where there is no proc(5),
nothing is known to be shared.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping

from . import system

_TABLE = "" if system.WINDOWS else "/proc/self/mountinfo"

_OWN = frozenset(
    "aufs bcachefs btrfs devtmpfs ecryptfs fuse.fuse-overlayfs overlay overlayfs proc ramfs rootfs sysfs "
    "tmpfs ubifs zfs".split()
)
"""File systems of this machine without a disk of their own; ``Mount.is_on_disk`` finds the others."""

_CLUSTERS = frozenset("gfs2 ocfs2".split())
"""File systems on a disk that several machines write to."""

_MAX_LINKS = 40

_FIELDS = 6
"""The five fields of a line up to the mount point, and the rest."""


class Mount:
    """A line of the table.

    It splits no more than it needs, because every first event meets it.

    Args:
        line: such as ``36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw``.

    Raises:
        ValueError, IndexError: no kernel writes such a line.
    """

    __slots__ = ("_fields", "_rest", "kind", "number", "point")

    def __init__(self, line: str) -> None:
        self._fields = fields = line.split(" ")
        self._rest = fields.index("-", 6) + 1
        self.point: str = _unescaped(fields[4])
        """Where it is mounted: an absolute path."""
        self.kind: str = fields[self._rest]
        """The type of the file system, such as ``ext4`` or ``nfs4``."""
        self.number: str = fields[2]
        """The major and minor number of ``st_dev``, such as ``98:0``."""

    @property
    def options(self) -> frozenset[str]:
        """The options of the mount and of its file system, such as ``ro``, ``noac`` or ``local_lock=all``."""
        own, common = self._fields[5], self._fields[self._rest + 2].rstrip("\n")
        return frozenset([*own.split(","), *common.split(",")])

    @property
    def is_on_disk(self) -> bool:
        """Whether the kernel gave it the number of a disk."""
        return not self.number.startswith("0:")

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use its files, as far as the table shows."""
        is_own = self.kind in _OWN or (self.is_on_disk and self.kind not in _CLUSTERS)
        return not is_own


def _unescaped(text: str) -> str:
    """A path from the table, where blanks and backslashes are written as three octal digits."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


Table = Mapping[str, str]
"""The line of each mount point. Of two mounts on one point, the later one hides the other."""


def table() -> Table:
    """The table of mounts as it is now; empty if it cannot be read."""
    found = {}
    for line in _lines():
        fields = line.split(" ", 5)
        if len(fields) == _FIELDS and " - " in fields[-1]:  # otherwise it is a line that no kernel writes
            with contextlib.suppress(ValueError):
                found[_unescaped(fields[4])] = line
    return found


def find(path: str | os.PathLike[str], known: Table | None = None) -> Mount | None:
    """The mount of a path that may be missing; None if the table cannot be read.

    The part of a path on a shared file system is not resolved.

    Args:
        path: absolute.
        known: the table, if it was read already.
    """
    known = table() if known is None else known
    return Mount(known[_point(known, _real(known, path))]) if "/" in known else None


def real(path: str | os.PathLike[str], known: Table | None = None) -> str:
    """An absolute path without symbolic links; the part on a shared file system is not resolved."""
    known = table() if known is None else known
    return _real(known, path) if "/" in known else os.path.realpath(path)


def _real(known: Table, path: str | os.PathLike[str]) -> str:
    parts = _parts(os.fspath(path))
    place, links = "/", 0
    checked = ""
    """The last mount point that was found to be this machine's own."""
    while parts:
        point = _point(known, place)
        if point != checked and Mount(known[point]).is_shared:
            return os.path.join(place, *reversed(parts))
        checked = point
        part = parts.pop()
        below = os.path.dirname(place) if part == os.pardir else os.path.join(place, part)
        target = "" if below in known or links >= _MAX_LINKS else _target(below)
        if target:
            links += 1
            parts += _parts(target)
            place = "/" if os.path.isabs(target) else place
        else:
            place = below
    return place


def is_shared(path: str | os.PathLike[str], known: Table | None = None) -> bool:
    """Whether other machines may use the files at a path, which may be missing; never waits for a server."""
    found = find(path, known)
    return found is not None and found.is_shared


@functools.cache
def is_shared_device(device: int) -> bool:
    """As ``is_shared``, for the ``st_dev`` of a file; each device is looked up once."""
    if system.WINDOWS or not _TABLE:
        return False
    number = f" {os.major(device)}:{os.minor(device)} "
    for line in _lines():
        if number in line:
            with contextlib.suppress(ValueError, IndexError):  # a line that no kernel writes
                mount = Mount(line)
                if mount.is_shared and mount.number == number.strip():
                    return True
    return False


def _point(known: Table, place: str) -> str:
    """The longest mount point that is ``place`` or a directory above it."""
    while place not in known:
        place = os.path.dirname(place)
    return place


def _parts(path: str) -> list[str]:
    """The names in a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in {"", os.curdir}]


def _target(path: str) -> str:
    """The target of a symbolic link; empty if there is none at this path."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _lines() -> list[str]:
    with contextlib.suppress(OSError), open(_TABLE, "rb", buffering=0) as file:
        return file.readall().decode("utf-8", "surrogateescape").split("\n")
    return []
