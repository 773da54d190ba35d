"""Appends records to the open segment on Windows: open, write, close. The open is the lock.

A writer opens the segment for append and shares it for reading and deletion, but not for writing. So one
writer at a time has it, and the system lets go of it however a process ends. Nothing stays open between two
events: an open file would keep the directory of its batch from being renamed, for hours in an idle training.

- If another writer has the segment for longer than ``LOCK_WAIT_S``, it may be stopped amid its write. This
  writer then seals the segment by a rename, which an open handle allows, and begins a new one. If even that
  is refused, the record becomes a whole segment of its own: a draft, renamed to its name.
- The sidecar seals by the same rename. It takes a sealed segment only if it can open it and deny writing.
  That proves that no writer has it, and none can open it again, because its name has changed. So a segment
  never grows after it was taken, and the races 2, 3, 12, 13 and 14 of POSIX cannot happen.
- A process that dies amid its write leaves torn bytes, which cost no other record (see ``record.py``).

A lock in the file would be no better, because an append without it is not atomic here. Python's own
``os.open`` lets nobody rename the file, and seeks the end of the file before it writes.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import _winapi
import os
import time
from collections.abc import Callable

from .. import files
from ..errors import SpoolFullError, SpoolWriteError, from_os_error
from ..layout import SEALED_PREFIX, SEGMENT_SUFFIX, HostPaths, whole_name
from ..locks import polls
from ..windows import api
from ..windows.files import IN_THE_WAY, rename_soon, size_of
from . import LOCK_WAIT_S, TRIES, check_directories, drop, make_directories

_POLL_S = 0.0003


class _BusyError(Exception):
    """Another process has the segment open, or deletes it."""


class Writer:
    """Appends to the open segment, for one thread at a time; as ``posix.Writer``.

    Args:
        host: this host; its directories are created when first needed.
        may_create: whether consent allows a new file; called before every creation.
        on_open: called before the first record, and before the first one after ``close``.
        lock_wait_s: the longest wait for another writer, in seconds.
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
        self._lock_wait_s = lock_wait_s - 2 * _POLL_S
        self._path = str(host.events)
        self._is_checked = False

    def append(self, frame: bytes, cap_bytes: float) -> None:
        """As ``posix.Writer.append``."""
        try:
            self._append(frame, cap_bytes)
        except OSError as error:
            self.close()
            raise from_os_error(error, self._path) from error

    def close(self) -> None:
        """Check the directories again before the next record; no file is open."""
        self._is_checked = False

    def _append(self, frame: bytes, cap_bytes: float) -> None:
        how = api.OPEN_EXISTING
        for _ in TRIES:
            try:
                if not self._is_checked:
                    self._check()
                self._append_in_turn(frame, cap_bytes, how)
            except FileNotFoundError:
                self.close()
                make_directories(self._host, self._may_create)
                how = api.OPEN_ALWAYS
            else:
                return
        raise SpoolWriteError(f"{self._path} is removed faster than it can be written to")

    def _check(self) -> None:
        check_directories(self._host)
        if os.path.lexists(self._path):
            files.check_file(self._path)
        self._on_open()
        self._is_checked = True

    def _append_in_turn(self, frame: bytes, cap_bytes: float, how: int) -> None:
        """Append a record; raises FileNotFoundError if there is no segment and none may be made."""
        for can_seal in (True, False):
            try:
                self._write(self._opened(how), frame, cap_bytes)
            except _BusyError:
                if not can_seal or not self._is_sealed():
                    break
                how = api.OPEN_ALWAYS  # consent was read for the segment that was sealed just now
            else:
                return
        self._write_whole(frame)

    def _opened(self, how: int) -> int:
        """A handle of the segment that no other writer has."""
        handle = self._handle(how)
        if handle is None:  # no clock is read for a free segment: it is part of every event
            for _ in polls(self._lock_wait_s, _POLL_S):
                if (handle := self._handle(how)) is not None:
                    break
        if handle is None:
            raise _BusyError
        return handle

    def _handle(self, how: int) -> int | None:
        return _handle(self._path, how)

    def _write(self, handle: int, frame: bytes, cap_bytes: float) -> None:
        try:
            is_full = size_of(handle) + len(frame) > cap_bytes
            written = 0 if is_full else _winapi.WriteFile(handle, frame)[0]
        finally:
            _winapi.CloseHandle(handle)
        if is_full:
            drop(self._host, self._may_create)
        if written != len(frame):
            raise SpoolFullError(f"{self._path}: only {written} of {len(frame)} bytes could be written")

    def _is_sealed(self) -> bool:
        """Whether the segment has another name now, so that a new one can begin."""
        sealed = f"{SEALED_PREFIX}{max(time.time_ns(), 0):019d}-{os.urandom(4).hex()}{SEGMENT_SUFFIX}"
        try:
            os.rename(self._path, self._host.spool / sealed)
        except FileNotFoundError:
            return True  # another process was first
        except OSError:
            return False
        return True

    def _write_whole(self, frame: bytes) -> None:
        name = whole_name(time.time_ns())
        draft = self._host.spool / f".{name}{files.PART_SUFFIX}"
        try:
            with files.opened(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
                files.write_all(descriptor, frame)
            rename_soon(draft, self._host.spool / name)
        except BaseException:
            if os.path.lexists(draft):
                os.unlink(draft)
            raise


def _handle(path: str, how: int) -> int | None:
    """A handle for append that denies writing to all others; None if another process is in the way."""
    try:
        return _winapi.CreateFile(
            path, api.APPEND | api.SYNCHRONIZE, api.SHARE_READ | api.SHARE_DELETE, 0, how, api.PLAIN_FILE, 0
        )
    except OSError as error:
        if error.winerror in IN_THE_WAY:
            return None
        error.filename = path
        raise
