"""What is different on Windows. ``system.py`` takes over each name that stands here without an underscore.

Windows refuses to rename, replace or delete a file that is open, unless all who have it open allow that. So
every file of ours is opened with ``FILE_SHARE_DELETE``, and a refused call is tried again for a moment: a
scanner, a backup or a reader may have the file open.

A handle that is open for writing keeps others from opening a file that they do not share for writing. The
spool relies on that; see ``spool/windows.py``. Locks are taken by ``LockFileEx``. The system releases them,
however a process ends. They are mandatory: nobody else can read a byte that is locked.

Files have no owner and no mode here that Python can tell; the profile of a user is private by its ACL.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import _winapi
import contextlib
import ctypes
import errno
import msvcrt
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from ctypes import wintypes
from typing import Any

IS_SUPPORTED = True
SITE_FILE = os.path.join(os.environ.get("PROGRAMDATA") or r"C:\ProgramData", "flwr", "telemetry.toml")

ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION = 5, 32, 33
IN_THE_WAY = frozenset({ACCESS_DENIED, SHARING_VIOLATION, 303})
"""Errors while another process has a file open; the last one, while a deleted file still is."""

_NOT_EMPTY = 145

SHARE_READ, SHARE_WRITE, SHARE_DELETE = 1, 2, 4
APPEND, SYNCHRONIZE = 0x4, 0x100000
CREATE_NEW, CREATE_ALWAYS, OPEN_EXISTING, OPEN_ALWAYS, TRUNCATE_EXISTING = 1, 2, 3, 4, 5
PLAIN_FILE = 0x80 | 0x00200000
"""``FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT``: a link is not followed."""

_READ, _WRITE, _READ_ATTRIBUTES, _WRITE_ATTRIBUTES = 0x80000000, 0x40000000, 0x80, 0x100
_OPEN_REPARSE_POINT = 0x00200000
_NAME_SURROGATE = 0x20000000
_STANDARD_ERROR = 2

PATIENCE_S = 1.0
"""The longest wait for a process that has a file open."""

_POLL_S = 0.002
EVENT_PATIENCE_S = 0.05
"""The longest such wait of an event."""


NO_FOLLOW = 1 << 30
"""A flag of our own, which ``open_descriptor`` knows."""

SAFE_FLAGS = NO_FOLLOW | os.O_BINARY | os.O_NOINHERIT
OPEN_ANY = os.O_BINARY | os.O_NOINHERIT
SYNC_FLAGS = os.O_RDWR
SEAL_FLAGS = os.O_RDONLY
SEALED_GROWS = False

PASSED_ON = frozenset(
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT TEMP TMP USERPROFILE HOMEDRIVE HOMEPATH USERNAME "
    "USERDOMAIN COMPUTERNAME APPDATA LOCALAPPDATA PROGRAMDATA ALLUSERSPROFILE PROCESSOR_ARCHITECTURE".split()
)

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", wintypes.DWORD),
        ("offset_high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    )


_HANDLE, _DWORD, _POINTER = wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p
for _name, _arguments in {
    "LockFileEx": (_HANDLE, _DWORD, _DWORD, _DWORD, _DWORD, _POINTER),
    "UnlockFileEx": (_HANDLE, _DWORD, _DWORD, _DWORD, _POINTER),
    "SetFileTime": (_HANDLE, _POINTER, _POINTER, _POINTER),
    "GetFileSizeEx": (_HANDLE, _POINTER),
    "GetProcessTimes": (_HANDLE, _POINTER, _POINTER, _POINTER, _POINTER),
    "SetPriorityClass": (_HANDLE, _DWORD),
    "GetDiskFreeSpaceExW": (wintypes.LPCWSTR, _POINTER, _POINTER, _POINTER),
    "GetShortPathNameW": (wintypes.LPCWSTR, wintypes.LPWSTR, _DWORD),
    "GetComputerNameExW": (ctypes.c_int, wintypes.LPWSTR, _POINTER),
}.items():
    getattr(_kernel32, _name).argtypes = _arguments
_advapi32.GetUserNameW.argtypes = (wintypes.LPWSTR, _POINTER)


def _last_error() -> OSError:
    return ctypes.WinError(ctypes.get_last_error())


# Patience


def _tries(wait_s: float = PATIENCE_S) -> Iterator[bool]:
    """Whether a try is the last one; waits between two tries, by the clock and by the number of waits."""
    end = time.monotonic() + wait_s
    for _ in range(round(wait_s / _POLL_S)):
        if time.monotonic() >= end:
            break
        yield False
        time.sleep(_POLL_S)
    yield True


def _patient(call: Callable[..., Any], wait_s: float = PATIENCE_S) -> Callable[..., Any]:
    """A function that tries a call of ``os`` again while another process has the file open."""

    def again(*arguments: Any, **options: Any) -> Any:
        for is_last in _tries(wait_s):
            try:
                return call(*arguments, **options)
            except OSError as error:
                if is_last or error.winerror not in IN_THE_WAY or not _may_pass(error):
                    raise
        return None

    return again


def _may_pass(error: OSError) -> bool:
    """Whether a refusal may be gone in a moment; that of a directory in the place of a file is not."""
    return error.winerror != ACCESS_DENIED or not (error.filename2 is None and _is_directory(error.filename))


def _is_directory(path: Any) -> bool:
    return isinstance(path, (str, bytes, os.PathLike)) and os.path.isdir(path)


replace = _patient(os.replace)
unlink = _patient(os.unlink)
link = _patient(os.rename)
"""``os.rename`` refuses a name that is taken."""

rename_soon = _patient(os.rename, EVENT_PATIENCE_S)
"""As ``os.rename``, for an event."""


def be_patient() -> None:
    """Let all renames and deletions of this process be patient, for a process of our own."""
    for name in ("rename", "replace", "unlink", "remove"):
        setattr(os, name, _patient(getattr(os, name)))
    os.rmdir = _patient_rmdir(os.rmdir)


def _patient_rmdir(rmdir: Callable[..., None]) -> Callable[..., None]:
    """As ``_patient``; a directory may also be full of files that are deleted and still open."""

    def again(*arguments: Any, **options: Any) -> None:
        for is_last in _tries():
            try:
                return rmdir(*arguments, **options)
            except OSError as error:
                is_emptied = error.winerror == _NOT_EMPTY and not os.listdir(arguments[0])
                if is_last or not (is_emptied or error.winerror in IN_THE_WAY):
                    raise
        return None

    return again


# Open files


def open_descriptor(path: os.PathLike[str] | str, flags: int, mode: int = 0o777) -> int:  # noqa: ARG001
    """As ``os.open``; the file can be renamed and deleted meanwhile, and no child process inherits it."""
    name = os.fspath(path)
    for is_last in _tries():
        try:
            handle = _create_file(name, flags)
            break
        except OSError as error:
            error.filename = name
            if error.winerror == ACCESS_DENIED and _is_directory(name):
                raise IsADirectoryError(errno.EISDIR, "Is a directory", name) from error
            if is_last or error.winerror not in IN_THE_WAY:
                raise
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


def _create_file(name: str, flags: int) -> int:
    access = flags & (os.O_WRONLY | os.O_RDWR)
    rights = SYNCHRONIZE | _READ_ATTRIBUTES
    if access != os.O_WRONLY:
        rights |= _READ
    if access:
        rights |= _WRITE_ATTRIBUTES | (APPEND if flags & os.O_APPEND else _WRITE)
    if flags & os.O_CREAT:
        how = CREATE_NEW if flags & os.O_EXCL else CREATE_ALWAYS if flags & os.O_TRUNC else OPEN_ALWAYS
    else:
        how = TRUNCATE_EXISTING if flags & os.O_TRUNC else OPEN_EXISTING
    kind = PLAIN_FILE if flags & NO_FOLLOW else PLAIN_FILE & ~_OPEN_REPARSE_POINT
    return _winapi.CreateFile(name, rights, SHARE_READ | SHARE_WRITE | SHARE_DELETE, 0, how, kind, 0)


def _refuse_link(name: str) -> None:
    """Raise ELOOP for a link, but not for every reparse point, which a file of OneDrive has, too."""
    status = os.lstat(name)
    if stat.S_ISLNK(status.st_mode) or status.st_reparse_tag & _NAME_SURROGATE:
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
    if not _kernel32.SetFileTime(handle, None, ctypes.byref(accessed), ctypes.byref(changed)):
        raise _last_error()


def size_of(handle: int) -> int:
    """The size of the file behind a handle, in bytes."""
    size_bytes = ctypes.c_int64()
    if not _kernel32.GetFileSizeEx(handle, ctypes.byref(size_bytes)):
        raise _last_error()
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
            os.fspath(segment), _READ, SHARE_READ | SHARE_DELETE, 0, OPEN_EXISTING, PLAIN_FILE, 0
        )
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.winerror not in IN_THE_WAY or _is_directory(segment)  # the next step tells the error
    _winapi.CloseHandle(handle)
    return True


def entry_status(entry: os.DirEntry[str]) -> os.stat_result:
    """As ``system.entry_status``; a listing of Windows has no inodes, and old sizes."""
    return os.lstat(entry.path)


def is_null(descriptor: int) -> bool:
    """As ``system.is_null``; the only other such device is a console."""
    return stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor)


def is_full(place: os.PathLike[str] | str) -> bool:
    """As ``system.is_full``."""
    free = ctypes.c_uint64()
    is_known = _kernel32.GetDiskFreeSpaceExW(os.fspath(place), ctypes.byref(free), None, None)
    return bool(is_known) and not free.value


def local_path(path: str) -> str:
    """The path of a ``file:`` URL: ``/C:/x`` is ``C:/x``."""
    return path[1:] if path[:1] == "/" and path[2:3] == ":" else path


# Owners


def is_own(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take every file for the user's own: its ACL decides who can use it."""
    return True


def is_open_to_others(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take no file for one that others may write to; see ``is_own``."""
    return False


def is_private(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take every file for one that the user alone may read; see ``is_own``."""
    return True


def user_id() -> str:
    """The name of the user, because there is no number."""
    return account()[0]


def account() -> tuple[str, str]:
    """As ``system.account``."""
    buffer, size = ctypes.create_unicode_buffer(257), wintypes.DWORD(257)
    name = buffer.value if _advapi32.GetUserNameW(buffer, ctypes.byref(size)) else ""
    return name or os.environ.get("USERNAME", ""), os.path.expanduser("~")


def identity(login: str) -> tuple[set[str], set[str]]:
    """As ``system.identity``; directories in each form in which programs write them."""
    name, home = account()
    variables = map(os.environ.get, ("COMPUTERNAME", "USERDOMAIN", "USERDNSDOMAIN", "USERNAME"))
    names = {node_name(), login, name, *filter(None, variables)}
    profile = os.environ.get("HOMEDRIVE", "") + os.environ.get("HOMEPATH", "")
    found = {home, os.environ.get("USERPROFILE", ""), os.environ.get("HOME", ""), profile}
    directories = {
        path.rstrip("\\/") for path in found if os.path.splitdrive(path)[0] and path.count("\\") > 1
    }
    directories |= set(map(_short, directories))
    names |= {os.path.basename(path) for path in directories if "~" in path}
    return names - {""}, directories | {form for path in directories for form in _forms(path)}


def _short(path: str) -> str:
    """The path with names of 8.3 letters, which stand in ``%TEMP%``; the same path where there are none."""
    buffer = ctypes.create_unicode_buffer(32_768)
    return buffer.value if _kernel32.GetShortPathNameW(path, buffer, len(buffer)) else path


def _forms(path: str) -> Iterator[str]:
    """``C:/Users/x`` and, as in shells of Unix, ``/c/Users/x``."""
    drive, rest = os.path.splitdrive(path.replace("\\", "/"))
    yield drive + rest
    if drive[1:] == ":":
        yield f"/{drive[0].lower()}{rest}"


HOME_VARIABLE = "USERPROFILE"


def user_home(environ: Mapping[str, str]) -> str:
    """As Flower finds it, which is ``Path.home()``: by USERPROFILE, and not by HOME."""
    return environ.get("USERPROFILE") or os.path.expanduser("~")


_DNS_HOST_NAME = 1


def node_name() -> str:
    """The name of this machine, as ``socket.gethostname()`` has it."""
    buffer, size = ctypes.create_unicode_buffer(257), wintypes.DWORD(257)
    is_known = _kernel32.GetComputerNameExW(_DNS_HOST_NAME, buffer, ctypes.byref(size))
    return (buffer.value if is_known else "") or os.environ.get("COMPUTERNAME", "")


# Locks

_FAIL_AT_ONCE, _EXCLUSIVE = 1, 2
_FAR = _Overlapped(offset=0xFFFFFFFE, offset_high=0x7FFFFFFF)
"""A byte that no file has, because others may read what is there."""


def _lock(descriptor: int, flags: int) -> None:
    handle = msvcrt.get_osfhandle(descriptor)
    if not _kernel32.LockFileEx(handle, _FAIL_AT_ONCE | flags, 0, 1, 0, ctypes.byref(_FAR)):
        raise _last_error()  # EACCES if another process has it


def lock_shared(descriptor: int) -> None:
    """As ``system.lock_shared``."""
    _lock(descriptor, 0)


def lock_exclusive(descriptor: int) -> None:
    """As ``system.lock_exclusive``."""
    _lock(descriptor, _EXCLUSIVE)


def unlock(descriptor: int) -> None:
    """As ``system.unlock``."""
    if not _kernel32.UnlockFileEx(msvcrt.get_osfhandle(descriptor), 0, 1, 0, ctypes.byref(_FAR)):
        raise _last_error()


# Processes

_QUERY, _TERMINATE = 0x1000, 0x1
_STILL_ACTIVE = 259
_RUNS, _ENDED = "R", "Z"
_IDLE_PRIORITY = 0x40


@contextlib.contextmanager
def _process(pid: int, access: int) -> Iterator[int]:
    handle = _winapi.OpenProcess(access, False, pid)
    try:
        yield handle
    finally:
        _winapi.CloseHandle(handle)


def exists(pid: int) -> bool:
    """As ``system.exists``; ``os.kill(pid, 0)`` would be Ctrl-C here."""
    try:
        with _process(pid, _QUERY) as handle:
            return _winapi.GetExitCodeProcess(handle) == _STILL_ACTIVE
    except OverflowError:
        return False
    except OSError as error:
        return error.winerror == ACCESS_DENIED


def send_signal(pid: int, number: int) -> None:
    """End a process, whatever the number is, but for that of a reload, which nothing can hear here."""
    if number != 1:
        with _process(pid, _TERMINATE) as handle:
            _winapi.TerminateProcess(handle, 1)


def process_facts(pid: int) -> tuple[str, int, int, str] | None:
    """State and start of a process; nothing tells its parent and its session."""
    times = [ctypes.c_uint64() for _ in range(4)]
    try:
        with _process(pid, _QUERY) as handle:
            if not _kernel32.GetProcessTimes(handle, *map(ctypes.byref, times)):
                return None
            is_running = _winapi.GetExitCodeProcess(handle) == _STILL_ACTIVE
    except (OSError, OverflowError):
        return None
    return _RUNS if is_running else _ENDED, 0, 0, str(times[0].value)


def pid_namespace() -> str:
    """As ``system.pid_namespace``: a number means one process on the whole machine."""
    return "windows"


def lower_priority() -> None:
    """As ``system.lower_priority``."""
    if not _kernel32.SetPriorityClass(_winapi.GetCurrentProcess(), _IDLE_PRIORITY):
        raise _last_error()


class _StartUp:
    """The standard streams of a new process, which inherits nothing else."""

    def __init__(self, null: int, errors: int) -> None:
        self.dwFlags = _winapi.STARTF_USESTDHANDLES
        self.wShowWindow = 0
        self.hStdInput, self.hStdOutput, self.hStdError = null, errors, errors
        self.lpAttributeList = {"handle_list": list({null, errors})}


_DETACHED = 0x8 | 0x200 | 0x4000
"""DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP and BELOW_NORMAL_PRIORITY_CLASS."""

_BREAKAWAY = 0x01000000


def run_detached(
    interpreter: list[str],  # noqa: ARG001 - needed where a process has to lie between
    command: list[str],
    directory: str,
    environment: dict[str, str],
    errors: int | None,
) -> None:
    """As ``detached.run_detached``.

    A job may end all of its processes with it, and some jobs let none go. The working directory is that of
    the system, because nobody can rename or remove one that is in use. In a virtual environment the program
    is a launcher, whose child would get a console with a window. So Python itself is started, as
    ``multiprocessing`` does.
    """
    from subprocess import list2cmdline

    directory = environment.get("SYSTEMROOT") or directory
    base = getattr(sys, "_base_executable", None) or command[0]
    if command[0] == sys.executable != base:
        command = [base, *command[1:]]
        environment = {**environment, "__PYVENV_LAUNCHER__": sys.executable}
    inherited: list[int] = []
    this = _winapi.GetCurrentProcess()
    null = _winapi.CreateFile("NUL", _READ | _WRITE, SHARE_READ | SHARE_WRITE, 0, OPEN_EXISTING, 0, 0)
    try:
        for handle in (null, null if errors is None else msvcrt.get_osfhandle(errors)):
            copy = _winapi.DuplicateHandle(this, handle, this, 0, True, _winapi.DUPLICATE_SAME_ACCESS)
            inherited.append(copy)
        arguments = (command[0], list2cmdline(command), None, None, True)
        rest = (environment, directory, _StartUp(*inherited))
        try:
            started = _winapi.CreateProcess(*arguments, _DETACHED | _BREAKAWAY, *rest)
        except PermissionError:
            started = _winapi.CreateProcess(*arguments, _DETACHED, *rest)
        _winapi.CloseHandle(started[0])
        _winapi.CloseHandle(started[1])
    finally:
        for handle in (null, *inherited):
            _winapi.CloseHandle(handle)
