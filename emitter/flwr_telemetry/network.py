"""What is different where a server keeps the files: NFS and its like, on Linux.

A write there ends in this machine's memory. What the server says to it (the quota is used up, another host
has removed the file) is told at the next fsync or close. And a file that this machine removes while it is
open is renamed to ``.nfs…`` until it is closed: it keeps its link, and whoever writes to it is told nothing.

Asked for a device once, when a segment is opened there first. This room must never ask a server anything.
"""

from __future__ import annotations

import os

_TYPES = frozenset("nfs nfs4 cifs smb3".split())
"""File systems that send what was written when a lock is let go, or a file closed, and not before."""

_MOUNTS = "/proc/self/mountinfo"
_REMOVED = " (deleted)"
_SILLY = ".nfs"


class Mounts:
    """Which devices are a server's, as far as that was asked."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def is_remote(self, device: int) -> bool:
        """Whether the files of this device (``st_dev``) are kept by a server."""
        if os.major(device):
            return False  # a disk of this machine
        if device not in self._known:
            self._known[device] = _look(device)
        return self._known[device]


def _look(device: int) -> bool:
    """What proc(5) says of a device; no where there is no such file, or nothing in it."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                mount, _, rest = line.partition(" - ")
                if mount.split(" ", 3)[2:3] == [number]:
                    return rest.partition(" ")[0] in _TYPES
    except OSError:
        pass
    return False


def was_removed(descriptor: int) -> bool:
    """Whether this machine has removed the file of a descriptor, whatever its number of links tells."""
    try:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:
        return False  # no Linux, and nothing tells
    return name.startswith(_SILLY) or name.endswith(_REMOVED)
