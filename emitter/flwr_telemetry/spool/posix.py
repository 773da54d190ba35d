"""Appends records to the open segment: one ``write`` for each, under a shared lock.

Appends are atomic among themselves. The sidecar takes the same lock exclusively, renames the segment (see
``spool/segments.py`` in the daemon) and reads it later.

The races of appending, numbered; ``spool/segments.py`` and ``outbox/batch.py`` continue the list.

1. The segment is renamed between a writer's open and its write. The lock prevents that. Without a lock, the
   record gets into the sealed segment, which is read later, or whose tail returns to the spool.
2. The segment is unlinked between a writer's open and its write. After the write it has no link left, or it
   has the tombstone bit (``files.TOMBSTONE_MODE``). Then the writer appends again, to the new segment. Some
   file systems show that bit for every file, so the writer checks the directory first.
3. The spool is removed or replaced under a running process. The path does not name the writer's file any
   more, so the writer opens the new file, or creates it if consent allows that.
4. A process dies inside its write. The torn bytes cost no other record (see ``record.py``).
5. A stopped process, or another program, holds the lock. A writer waits ``LOCK_WAIT_S`` and appends without
   the lock. It waits once: as long as the lock stays busy, the next events append without it at once.

All of this is for a home that this machine alone uses, where locks and link counts can be trusted. On a
shared home nothing is ever locked, and each append is a segment of its own; see ``whole.py``. If the table of
mounts cannot be read, a home may be shared all the same. A stale handle (ESTALE) there means races 2 and 3.

No process ever truncates a segment. This module reads the clock only for the wait in race 5.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from .. import files, system
from ..errors import SpoolFullError, SpoolWriteError, from_os_error, reraise_from_handler
from ..layout import HostPaths
from ..locks import LockResult, try_shared, wait
from . import LOCK_WAIT_S, TRIES, check_directories, drop, make_directories

# On Windows, mypy checks the names of `windows`, and reads no further here.
TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING and sys.platform == "win32":
    from .windows import Writer as Writer  # noqa: PLC0414
assert not TYPE_CHECKING or sys.platform != "win32"

_READ_MARK = -1
with contextlib.suppress(ImportError):  # an unsupported system has no `fcntl`; the emitter refuses there
    import fcntl

    from ..system import LOCK_SHARED

    _READ_MARK = getattr(fcntl, "F_GETSIG", -1)
    _UNLOCK = fcntl.LOCK_UN

_LOCK_POLL_S = 0.0005
_TRIES_LEFT = tuple(reversed(TRIES))

# For reading, too, because a shared lock on NFS needs that. If the table of mounts cannot be read, a home may
# be on NFS.
_FLAGS = os.O_RDWR | os.O_APPEND

_MARK = 61
"""A real-time signal that hardly any other program would choose."""


class Handle:
    """A file that stays open between events, with a check that its descriptor still means this file.

    A process may close descriptors that it does not know, as a daemon does that detaches, and open its own
    files under their numbers. Those must not be written to, locked or closed. So the check comes before every
    event. On Linux the open file has a mark: the number of the signal that would announce input. Reading it
    costs a quarter of ``fstat``, and works even if another host has removed the file.

    Args:
        descriptor: of the file; only ``close`` closes it.
        flags: the flags with which it was opened.
    """

    __slots__ = ("_flags", "descriptor", "identity", "is_held_up", "is_in_use", "is_marked")

    def __init__(self, descriptor: int, flags: int) -> None:
        self.descriptor: int = descriptor
        self._flags = flags
        status = os.fstat(descriptor)
        self.identity: tuple[int, int] = (status.st_ino, status.st_dev)
        self.is_marked: bool = _mark(descriptor)
        """Whether the open file has the mark."""
        self.is_in_use: bool = False
        """Whether the file was found in use in spite of its tombstone bit; see ``Writer._is_removed``."""
        self.is_held_up: bool = False
        """Whether the last wait for its lock was in vain."""

    def is_ours(self) -> bool:
        """Whether the descriptor still means the file."""
        try:
            if self.is_marked:
                return fcntl.fcntl(self.descriptor, _READ_MARK) == _MARK
            status = os.fstat(self.descriptor)
        except OSError as error:
            reraise_from_handler()
            # Only the flags of a stale handle can be read. If not closed, each adoption would leave one.
            return error.errno == errno.ESTALE and system.is_opened_with(self.descriptor, self._flags)
        return (status.st_ino, status.st_dev) == self.identity

    def close(self) -> None:
        """Close the file, if it is still ours."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                os.close(self.descriptor)


def _mark(descriptor: int) -> bool:
    """Mark an open file; False if the system has no such mark."""
    if _READ_MARK < 0:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, _MARK)  # type: ignore[attr-defined,unused-ignore]
        return fcntl.fcntl(descriptor, _READ_MARK) == _MARK
    except OSError:
        return False


class Writer:
    """Appends to the open segment, for one thread at a time.

    Args:
        host: this host; its directories are created when first needed.
        may_create: whether consent allows a new file; called before every creation.
        on_open: called whenever this writer has opened a segment.
        lock_wait_s: the longest wait for the lock, in seconds.
    """

    def __init__(
        self,
        host: HostPaths,
        may_create: Callable[[], bool],
        on_open: Callable[[], None],
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        self._host = host
        self._may_create = may_create
        self._on_open = on_open
        # A sleep is a little longer than asked for, and the last one starts before the wait is over.
        self._lock_wait_s = lock_wait_s - 2 * _LOCK_POLL_S
        self._path = str(host.events)
        self._handle: Handle | None = None

    def append(self, frame: bytes, cap_bytes: float) -> None:
        """Append one record; once this returns, the record survives the death of any process.

        Args:
            frame: the whole record.
            cap_bytes: the largest size of the open segment; a record beyond it is dropped and counted.

        Raises:
            SpoolError: the record is not in the spool, or only torn.
            CreationRefusedError: telemetry is off.
        """
        try:
            self._append(frame, cap_bytes)
        except OSError as error:
            self.close()
            raise from_os_error(error, self._path) from error

    def _append(self, frame: bytes, cap_bytes: float) -> None:
        """``append``, which may raise an OSError; it is short, for the reason in ``Emitter._emit``."""
        for tries_left in _TRIES_LEFT:
            try:
                handle = self._handle
                if is_new := handle is None or not handle.is_ours():
                    self.close()
                    handle = self._open()
                if self._is_kept(handle, frame, cap_bytes, is_new):
                    return
            except FileNotFoundError:
                if not tries_left:
                    raise  # otherwise a sidecar may just have removed an empty directory
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
            self.close()
        raise SpoolWriteError(f"{self._path} is replaced faster than it can be written to")

    def close(self) -> None:
        """Close the descriptor; the next append opens it anew."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _is_kept(self, handle: Handle, frame: bytes, cap_bytes: float, is_new: bool) -> bool:
        """Whether this attempt wrote the record into the file that has the name of the open segment."""
        descriptor = handle.descriptor
        try:
            fcntl.flock(descriptor, LOCK_SHARED)  # `try_shared`, without the cost of a Python call
            locked = True
        except OSError:
            reraise_from_handler()
            locked = self._lock(handle, is_new=is_new)
        try:
            return self._is_written(handle, frame, cap_bytes)
        finally:
            if locked:
                try:
                    fcntl.flock(descriptor, _UNLOCK)  # `locks.unlock`, without the cost of two Python calls
                except OSError:
                    reraise_from_handler()

    def _is_written(self, handle: Handle, frame: bytes, cap_bytes: float) -> bool:
        """``_is_kept`` after the attempt at the lock. It is short, for the reason in ``Emitter._emit``."""
        descriptor = handle.descriptor
        named = os.lstat(self._path)  # `_append` handles its errors; there is no `try` here, as in `_emit`
        if (named.st_ino, named.st_dev) != handle.identity:
            return False
        size_bytes = len(frame)
        if named.st_size + size_bytes > cap_bytes:
            drop(self._host, self._may_create)
        written = os.write(descriptor, frame)
        if written != size_bytes:
            raise SpoolFullError(f"{self._path}: only {written} of {size_bytes} bytes could be written")
        status = os.fstat(descriptor)
        if status.st_nlink == 0:
            return False
        return not (
            status.st_mode & files.TOMBSTONE_MODE and not handle.is_in_use and self._is_removed(handle)
        )

    def _is_removed(self, handle: Handle) -> bool:
        """Whether a file with the tombstone bit is removed: its name is free, or means another file.

        Some shares show the same mode for every file, and a user may have changed the mode.
        """
        with contextlib.suppress(FileExistsError):
            os.close(self._create(_FLAGS | os.O_CREAT | os.O_EXCL))
            return True
        with files.opened(self._path, _FLAGS) as descriptor:
            status = os.fstat(descriptor)
        handle.is_in_use = (status.st_ino, status.st_dev) == handle.identity
        return not handle.is_in_use

    def _lock(self, handle: Handle, *, is_new: bool) -> bool:
        wait_s = 0.0 if handle.is_held_up else self._lock_wait_s
        try:
            result = wait(try_shared, handle.descriptor, wait_s, _LOCK_POLL_S)
        except OSError:
            if not is_new:
                raise
            return False  # a file that was just opened is not stale, so the server refuses locks
        handle.is_held_up = result is LockResult.BUSY
        return result is LockResult.HELD

    def _open(self) -> Handle:
        descriptor = self._open_segment()
        try:
            self._handle = handle = Handle(descriptor, _FLAGS)
        except OSError:
            os.close(descriptor)
            raise
        self._on_open()
        return handle

    def _open_segment(self) -> int:
        try:
            check_directories(self._host)
            return files.open_file(self._path, _FLAGS)
        except FileNotFoundError:
            return self._create(_FLAGS | os.O_CREAT)

    def _create(self, flags: int) -> int:
        make_directories(self._host, self._may_create)
        return files.open_file(self._path, flags)
