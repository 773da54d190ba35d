"""A file that is kept open between events, and whether its number still means it.

A process may close descriptors that it does not know (a daemon that detaches) and open its own files under
their numbers: those must neither be written to, nor locked, nor closed. So it is asked before every event. On
Linux the open file itself carries a mark, which costs a quarter of ``fstat``, and can be read of a file that
another host has removed, too: the number of the signal that would tell of input, if anybody asked for one.

This room must never touch a descriptor of somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from . import files

if sys.platform != "win32":
    import fcntl

_MARK = 61
"""A real-time signal that hardly anybody else would choose."""

_READ_MARK = getattr(fcntl, "F_GETSIG", -1) if sys.platform != "win32" else -1


class Handle:
    """An open file.

    Args:
        descriptor: of the file; it is closed by ``close`` alone.
        flags: it was opened with.

    Attributes:
        descriptor: as above.
        identity: inode and device.
    """

    __slots__ = ("_flags", "_is_marked", "descriptor", "identity")

    def __init__(self, descriptor: int, flags: int) -> None:
        self.descriptor = descriptor
        self._flags = flags
        status = os.fstat(descriptor)
        self.identity = (status.st_ino, status.st_dev)
        self._is_marked = _mark(descriptor)

    def is_ours(self) -> bool:
        """Whether the number still means the file."""
        try:
            if self._is_marked:
                return fcntl.fcntl(self.descriptor, _READ_MARK) == _MARK
            status = os.fstat(self.descriptor)
        except OSError as error:
            # A stale handle tells only how it was opened; unclosed, one more is left at every adoption.
            return error.errno == errno.ESTALE and files.is_opened_with(self.descriptor, self._flags)
        return (status.st_ino, status.st_dev) == self.identity

    def close(self) -> None:
        """Close the file, if it is still ours."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                os.close(self.descriptor)


def _mark(descriptor: int) -> bool:
    """Mark an open file; False where the system knows no such thing."""
    if _READ_MARK < 0:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, _MARK)
        return fcntl.fcntl(descriptor, _READ_MARK) == _MARK
    except OSError:
        return False
