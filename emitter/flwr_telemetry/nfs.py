"""Tells whether a file is on a network file system of Linux, NFS above all, and whether it was removed.

A write there ends in this machine's memory. The server's answer (the quota is used up, another host removed
the file) arrives at the next fsync or close. A file that this machine removes while it is open is renamed to
``.nfs…`` until it is closed, and on FUSE to ``.fuse_hidden…``. It keeps its link, so a writer to it gets no
error.

A device is looked up once, when a segment on it is first opened. This module never sends a request to a
server.
"""

from __future__ import annotations

import contextlib
import functools
import os

_TYPES = frozenset("nfs nfs4 cifs smb3".split())
"""File systems that send written data only when a lock is released or a file is closed."""

_LOCAL_TYPES = frozenset("overlay tmpfs btrfs zfs bcachefs".split())
"""File systems of this machine whose devices have no disk of their own."""

_MOUNTS = "/proc/self/mountinfo"
_REMOVED = " (deleted)"
_SILLY = (".nfs", ".fuse_hidden")


@functools.cache
def is_remote(device: int) -> bool:
    """Whether a server keeps the files of this device (``st_dev``); false where there is no proc(5)."""
    return not os.major(device) and _kind(device) in _TYPES


def is_local(device: int) -> bool:
    """Whether this machine alone keeps the files of this device; false if that is not known."""
    return bool(os.major(device)) or _kind(device) in _LOCAL_TYPES


def _kind(device: int) -> str:
    """The type of the file system on a device without a disk; empty if it is not known."""
    number = f"0:{os.minor(device)}"
    with contextlib.suppress(OSError), open(_MOUNTS, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            mount, _, rest = line.partition(" - ")
            if mount.split(" ", 3)[2:3] == [number]:
                return rest.partition(" ")[0]
    return ""


def is_unlinked(descriptor: int) -> bool:
    """Whether this machine has removed the file of a descriptor, although it may still have a link."""
    try:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:
        return False  # not Linux
    return name.startswith(_SILLY) or name.endswith(_REMOVED)
