"""Files on Windows: opened, locked, renamed and deleted beside others that have them open.

Windows refuses to rename, replace or delete a file that is open, unless all who have it open allow that. So
every file of ours is opened with ``FILE_SHARE_DELETE``, and a refused call is repeated for a moment. For
example, a scanner or a backup may have the file open.

A handle that is open for writing keeps others from opening a file that they do not share for writing. The
spool relies on that; see ``spool/windows.py``. Locks are taken by ``LockFileEx``. The system releases them,
however a process ends. They are mandatory: nobody else can read a byte that is locked.
"""

from __future__ import annotations

import sys

from ..named import Any

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import _winapi
import ctypes
import errno
import msvcrt
import os
import stat
import time
from collections.abc import Callable, Iterator

from . import api

IN_THE_WAY = frozenset({api.ACCESS_DENIED, api.SHARING_VIOLATION, 303})
"""Errors while another process has a file open; the last one, while a deleted file still is."""

NO_FOLLOW = 1 << 30
"""A flag of our own, which ``open_descriptor`` knows."""

SAFE_FLAGS = NO_FOLLOW | os.O_BINARY | os.O_NOINHERIT
OPEN_ANY = os.O_BINARY | os.O_NOINHERIT
SYNC_FLAGS = os.O_RDWR
SEAL_FLAGS = os.O_RDONLY
SEALED_GROWS = False
APPENDS_WHOLE = False

RETRY_S = 1.0
"""The longest time to retry while another process has a file open."""

EVENT_RETRY_S = 0.05
"""The same for an event."""

_POLL_S = 0.002
_NOT_EMPTY = 145
_NAME_SURROGATE = 0x20000000
_STANDARD_ERROR = 2


# Retries


def _tries(wait_s: float = RETRY_S) -> Iterator[bool]:
    """For each try, whether it is the last one; sleeps between two tries."""
    end = time.monotonic() + wait_s
    for _ in range(round(wait_s / _POLL_S)):
        if time.monotonic() >= end:
            break
        yield False
        time.sleep(_POLL_S)
    yield True


def _retried(call: Callable[..., Any], wait_s: float = RETRY_S) -> Callable[..., Any]:
    """A function that repeats a call of ``os`` while another process has the file open."""

    def again(*arguments: Any, **options: Any) -> Any:
        for is_last in _tries(wait_s):
            try:
                return call(*arguments, **options)
            except OSError as error:
                if is_last or not _may_pass(error, call):
                    raise
        return None

    return again


def _may_pass(error: OSError, call: Callable[..., Any]) -> bool:
    """Whether another try may succeed; it never does for a directory in the place of a file."""
    if error.winerror == _NOT_EMPTY:  # its files may be deleted, and still open
        return not os.listdir(error.filename)
    if error.winerror == api.ACCESS_DENIED and error.filename2 is None and call is not _rmdir:
        return not os.path.isdir(error.filename)
    return error.winerror in IN_THE_WAY


_rmdir = os.rmdir

replace = _retried(os.replace)
unlink = _retried(os.unlink)
link = _retried(os.rename)
"""``os.rename`` refuses a name that is taken."""

rename_soon = _retried(os.rename, EVENT_RETRY_S)
"""As ``os.rename``, for an event."""


def retry_busy_files() -> None:
    """As ``system.retry_busy_files``."""
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        setattr(os, name, _retried(getattr(os, name)))


# Open files


def open_descriptor(path: os.PathLike[str] | str, flags: int, mode: int = 0o777) -> int:  # noqa: ARG001
    """As ``os.open``; the file can be renamed and deleted meanwhile, and no child process inherits it."""
    name = os.fspath(path)
    handle = _create_file(name, flags)
    try:
        if flags & NO_FOLLOW:
            _refuse_link(name)
        access = flags & (os.O_WRONLY | os.O_RDWR)
        kept = os.O_NOINHERIT | flags & os.O_APPEND | (0 if access else os.O_RDONLY)
        descriptor = msvcrt.open_osfhandle(handle, kept)
    except BaseException:
        _winapi.CloseHandle(handle)
        raise
    return _not_standard(descriptor)


@_retried
def _create_file(name: str, flags: int) -> int:
    access = flags & (os.O_WRONLY | os.O_RDWR)
    rights = api.SYNCHRONIZE | api.READ_ATTRIBUTES
    if access != os.O_WRONLY:
        rights |= api.READ
    if access:
        rights |= api.WRITE_ATTRIBUTES | (api.APPEND if flags & os.O_APPEND else api.WRITE)
    if flags & os.O_CREAT:
        how = (
            api.CREATE_NEW
            if flags & os.O_EXCL
            else api.CREATE_ALWAYS
            if flags & os.O_TRUNC
            else api.OPEN_ALWAYS
        )
    else:
        how = api.TRUNCATE_EXISTING if flags & os.O_TRUNC else api.OPEN_EXISTING
    kind = api.PLAIN_FILE if flags & NO_FOLLOW else api.PLAIN_FILE & ~api.OPEN_REPARSE_POINT
    shared = api.SHARE_READ | api.SHARE_WRITE | api.SHARE_DELETE
    try:
        return _winapi.CreateFile(name, rights, shared, 0, how, kind, 0)
    except OSError as error:
        error.filename = name
        if error.winerror == api.ACCESS_DENIED and os.path.isdir(name):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", name) from error
        raise


def is_link(name: str) -> bool:
    """Whether a name leads to another one; a reparse point need not: every file of OneDrive is one."""
    status = os.lstat(name)
    return stat.S_ISLNK(status.st_mode) or bool(status.st_reparse_tag & _NAME_SURROGATE)


def _refuse_link(name: str) -> None:
    if is_link(name):
        raise OSError(errno.ELOOP, "a link is in the place of a file", name)


def _not_standard(descriptor: int) -> int:
    """The same file under a number that is no standard stream; a program without a console has none."""
    low = []
    try:
        while descriptor <= _STANDARD_ERROR:
            low.append(descriptor)
            descriptor = os.dup(descriptor)
    finally:
        for number in low:
            os.close(number)
    return descriptor


def pread(descriptor: int, size_bytes: int, offset_bytes: int) -> bytes:
    """As ``system.pread``."""
    os.lseek(descriptor, offset_bytes, os.SEEK_SET)
    found = b""
    while len(found) < size_bytes and (data := os.read(descriptor, size_bytes - len(found))):
        found += data
    return found


def pwrite(descriptor: int, data: bytes, offset_bytes: int) -> int:
    """As ``system.pwrite``."""
    os.lseek(descriptor, offset_bytes, os.SEEK_SET)
    return os.write(descriptor, data)


def set_mode(descriptor: int, mode: int) -> None:
    """Do nothing: no mode of a file tells here who may use it."""


_EPOCH_100NS = 116_444_736_000_000_000
"""From 1601, when the times of Windows begin, to 1970."""


def set_times(descriptor: int, times_ns: tuple[int, int] | None = None) -> None:
    """As ``system.set_times``."""
    times_ns = times_ns or (time.time_ns(),) * 2
    accessed, changed = (ctypes.c_uint64(moment // 100 + _EPOCH_100NS) for moment in times_ns)
    handle = msvcrt.get_osfhandle(descriptor)
    if not api.kernel32.SetFileTime(handle, None, ctypes.byref(accessed), ctypes.byref(changed)):
        raise api.last_error()


def size_of(handle: int) -> int:
    """The size of the file behind a handle, in bytes."""
    size_bytes = ctypes.c_int64()
    if not api.kernel32.GetFileSizeEx(handle, ctypes.byref(size_bytes)):
        raise api.last_error()
    return size_bytes.value


def fsync(descriptor: int) -> None:
    """As ``system.fsync``."""
    os.fsync(descriptor)


def fsync_directory(path: os.PathLike[str] | str) -> None:
    """Do nothing: Windows forces no directory to the disk."""


def sync_file_system(directory: os.PathLike[str] | str) -> bool:  # noqa: ARG001
    """As ``system.sync_file_system``: only an administrator could."""
    return False


def may_be_taken(segment: os.PathLike[str] | str) -> bool:
    """Whether no process has a sealed segment open for writing: then it never grows again."""
    try:
        handle = _winapi.CreateFile(
            os.fspath(segment),
            api.READ,
            api.SHARE_READ | api.SHARE_DELETE,
            0,
            api.OPEN_EXISTING,
            api.PLAIN_FILE,
            0,
        )
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.winerror not in IN_THE_WAY or os.path.isdir(segment)  # the next step tells the error
    _winapi.CloseHandle(handle)
    return True


def entry_status(entry: os.DirEntry[str]) -> os.stat_result:
    """As ``system.entry_status``; a listing of Windows has no inodes, and old sizes."""
    return os.lstat(entry.path)


def is_null(descriptor: int) -> bool:
    """As ``system.is_null``; the only other such device is a console. ``isatty`` takes both for one."""
    handle, mode = msvcrt.get_osfhandle(descriptor), ctypes.c_uint32()
    is_console = api.kernel32.GetConsoleMode(handle, ctypes.byref(mode))
    return not is_console and _winapi.GetFileType(handle) == _winapi.FILE_TYPE_CHAR


def is_full(place: os.PathLike[str] | str) -> bool:
    """As ``system.is_full``."""
    free = ctypes.c_uint64()
    is_known = api.kernel32.GetDiskFreeSpaceExW(os.fspath(place), ctypes.byref(free), None, None)
    return bool(is_known) and not free.value


def local_path(path: str) -> str:
    """The path of a ``file:`` URL: ``/C:/x`` is ``C:/x``."""
    return path[1:] if path[:1] == "/" and path[2:3] == ":" else path


# Locks

_FAIL_AT_ONCE, _EXCLUSIVE = 1, 2
_FAR = api.Overlapped(offset=0xFFFFFFFE, offset_high=0x7FFFFFFF)
"""A byte that no file has, because others may read what is there."""


def _lock(descriptor: int, flags: int) -> None:
    handle = msvcrt.get_osfhandle(descriptor)
    if not api.kernel32.LockFileEx(handle, _FAIL_AT_ONCE | flags, 0, 1, 0, ctypes.byref(_FAR)):
        raise api.last_error()  # EACCES if another process has it


def lock_shared(descriptor: int) -> None:
    """As ``system.lock_shared``."""
    _lock(descriptor, 0)


def lock_exclusive(descriptor: int) -> None:
    """As ``system.lock_exclusive``."""
    _lock(descriptor, _EXCLUSIVE)


def unlock(descriptor: int) -> None:
    """As ``system.unlock``."""
    if not api.kernel32.UnlockFileEx(msvcrt.get_osfhandle(descriptor), 0, 1, 0, ctypes.byref(_FAR)):
        raise api.last_error()
