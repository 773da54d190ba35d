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
import re
from collections.abc import Iterator
from typing import NamedTuple

_TABLE = "/proc/self/mountinfo"

_OWN = frozenset(
    "aufs bcachefs btrfs ecryptfs fuse.fuse-overlayfs overlay overlayfs ramfs rootfs tmpfs ubifs zfs".split()
)
"""File systems of this machine that have no disk of their own. Those that have one are told by its number."""

_CLUSTERS = frozenset("gfs2 ocfs2".split())
"""File systems on a disk that several machines write to."""

_MOST_LINKS = 40
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of the table."""

    point: str
    """Where it is mounted: an absolute path."""
    kind: str
    """The type of the file system, such as ``ext4`` or ``nfs4``."""
    options: frozenset[str]
    """The options of the mount and of its file system, such as ``ro``, ``noac`` or ``local_lock=all``."""
    is_on_disk: bool
    """Whether the kernel gave it the number of a disk."""
    device: tuple[int, int]
    """The major and minor number of ``st_dev``."""

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use its files, as far as anybody can tell here."""
        is_own = self.kind in _OWN or (self.is_on_disk and self.kind not in _CLUSTERS)
        return not is_own


def find(path: str | os.PathLike[str]) -> Mount | None:
    """The mount of a path that may be missing; None if the table cannot be read.

    If the path leads to a shared file system, its part there is taken by the letter.

    Args:
        path: absolute.
    """
    table = {mount.point: mount for mount in _table()}  # of two on one point, the later one hides the other
    if "/" not in table:
        return None
    parts = _parts(os.fspath(path))
    place, links = "/", 0
    while parts:
        if table[_point(table, place)].is_shared:
            return table[_point(table, os.path.join(place, *reversed(parts)))]
        part = parts.pop()
        below = os.path.dirname(place) if part == os.pardir else os.path.join(place, part)
        target = "" if below in table or links >= _MOST_LINKS else _target(below)
        if target:
            links += 1
            parts += _parts(target)
            place = "/" if os.path.isabs(target) else place
        else:
            place = below
    return table[_point(table, place)]


def is_shared(path: str | os.PathLike[str]) -> bool:
    """Whether other machines may use the files at a path, which may be missing; never waits for a server."""
    found = find(path)
    return found is not None and found.is_shared


@functools.cache
def is_shared_device(device: int) -> bool:
    """As ``is_shared``, for the ``st_dev`` of a file; each device is looked up once."""
    number = (os.major(device), os.minor(device))
    return any(mount.is_shared for mount in _table() if mount.device == number)


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
                yield _mount(line)


def _mount(line: str) -> Mount:
    """The mount of a line such as ``36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw``."""
    before, _, after = line.partition(" - ")
    fields, rest = before.split(" "), after.rstrip("\n").split(" ")
    major, _, minor = fields[2].partition(":")
    options = frozenset([*fields[5].split(","), *rest[2].split(",")])
    point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
    return Mount(point, rest[0], options, major != "0", (int(major), int(minor)))
