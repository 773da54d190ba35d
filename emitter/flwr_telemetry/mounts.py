"""Tells which file system a path is on, and whether other machines may use its files, too.

The answers come from the table of mounts in proc(5) alone. No call here asks a file server, which might never
answer: symbolic links are followed only as long as they lie on a file system of this machine.

A file system counts as shared unless it is known to belong to this machine alone. Where there is no proc(5),
nothing is known to be shared.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from . import system

_TABLE = "" if system.WINDOWS else "/proc/self/mountinfo"

_OWN = frozenset(
    "aufs bcachefs btrfs devtmpfs ecryptfs fuse.fuse-overlayfs overlay overlayfs proc ramfs rootfs sysfs "
    "tmpfs ubifs zfs".split()
)
"""File systems of this machine that have no disk of their own. Those that have one are told by its number."""

_CLUSTERS = frozenset("gfs2 ocfs2".split())
"""File systems on a disk that several machines write to."""

_MOST_LINKS = 40


class Mount:
    """A line of the table.

    It is a plain class that splits no more than it needs, because every first event reads the whole table.

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
        """Whether other machines may use its files, as far as anybody can tell here."""
        is_own = self.kind in _OWN or (self.is_on_disk and self.kind not in _CLUSTERS)
        return not is_own


def _unescaped(text: str) -> str:
    """A path from the table, where blanks and backslashes are written as three octal digits."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


def find(path: str | os.PathLike[str]) -> Mount | None:
    """The mount of a path that may be missing; None if the table cannot be read.

    If the path leads to a shared file system, its part there is taken by the letter.

    Args:
        path: absolute.
    """
    table = _by_point()
    return table[_point(table, _real(table, path))] if "/" in table else None


def real(path: str | os.PathLike[str]) -> str:
    """An absolute path without symbolic links; the part on a shared file system is taken by the letter."""
    table = _by_point()
    return _real(table, path) if "/" in table else os.path.realpath(path)


def _by_point() -> dict[str, Mount]:
    return {mount.point: mount for mount in _table()}  # of two on one point, the later one hides the other


def _real(table: dict[str, Mount], path: str | os.PathLike[str]) -> str:
    parts = _parts(os.fspath(path))
    place, links = "/", 0
    while parts:
        if table[_point(table, place)].is_shared:
            return os.path.join(place, *reversed(parts))
        part = parts.pop()
        below = os.path.dirname(place) if part == os.pardir else os.path.join(place, part)
        target = "" if below in table or links >= _MOST_LINKS else _target(below)
        if target:
            links += 1
            parts += _parts(target)
            place = "/" if os.path.isabs(target) else place
        else:
            place = below
    return place


def is_shared(path: str | os.PathLike[str]) -> bool:
    """Whether other machines may use the files at a path, which may be missing; never waits for a server."""
    found = find(path)
    return found is not None and found.is_shared


@functools.cache
def is_shared_device(device: int) -> bool:
    """As ``is_shared``, for the ``st_dev`` of a file; each device is looked up once."""
    return any(
        mount.is_shared for mount in _table() if mount.number == f"{os.major(device)}:{os.minor(device)}"
    )


def _point(table: dict[str, Mount], place: str) -> str:
    """The longest mount point that is ``place`` or a directory above it."""
    while place not in table:
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


def _table() -> Iterator[Mount]:
    with contextlib.suppress(OSError), open(_TABLE, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, IndexError):  # a line that no kernel writes
                yield Mount(line)
