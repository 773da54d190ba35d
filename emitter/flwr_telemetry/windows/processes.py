"""On Windows: checks processes, ends them, and starts one that outlives this process."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import _winapi
import contextlib
import ctypes
import msvcrt
from collections.abc import Iterator

from . import api

PASSED_ON = frozenset(
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT TEMP TMP USERPROFILE HOMEDRIVE HOMEPATH USERNAME "
    "USERDOMAIN COMPUTERNAME APPDATA LOCALAPPDATA PROGRAMDATA ALLUSERSPROFILE PROCESSOR_ARCHITECTURE".split()
)

_QUERY, _TERMINATE = 0x1000, 0x1
_STILL_ACTIVE = 259
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
        return error.winerror == api.ACCESS_DENIED


def send_signal(pid: int, number: int) -> None:
    """End a process. A reload is not sent, because a process of Windows cannot receive it."""
    if number != 1:
        with _process(pid, _TERMINATE) as handle:
            _winapi.TerminateProcess(handle, 1)


def process_facts(pid: int) -> tuple[str, int, int, str] | None:
    """State and start of a process that runs. Its parent and its session are 0, because they are not known.

    An ended process exists as long as another one has a handle of it. It counts as none, and not as a zombie.
    """
    times = [ctypes.c_uint64() for _ in range(4)]
    try:
        with _process(pid, _QUERY) as handle:
            is_known = api.kernel32.GetProcessTimes(handle, *map(ctypes.byref, times))
            if not is_known or _winapi.GetExitCodeProcess(handle) != _STILL_ACTIVE:
                return None
    except (OSError, OverflowError):
        return None
    return "R", 0, 0, str(times[0].value)


def pid_namespace() -> str:
    """As ``system.pid_namespace``: a number means one process on the whole machine."""
    return "windows"


def lower_priority() -> None:
    """As ``system.lower_priority``."""
    if not api.kernel32.SetPriorityClass(_winapi.GetCurrentProcess(), _IDLE_PRIORITY):
        raise api.last_error()


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
    """As ``detached.run_detached``; the new process inherits its standard streams and nothing else.

    A job of Windows may end all of its processes with it, so the new process leaves the job, if it may. Its
    working directory is that of the system, because a directory in use cannot be removed. In a virtual
    environment the program is a launcher, whose child would get a window. So Python itself is started, as
    ``multiprocessing`` does.
    """
    import subprocess

    directory = environment.get("SYSTEMROOT") or directory
    base = getattr(sys, "_base_executable", None) or command[0]
    if command[0] == sys.executable != base:
        command = [base, *command[1:]]
        environment = {**environment, "__PYVENV_LAUNCHER__": sys.executable}
    this = _winapi.GetCurrentProcess()
    null = _winapi.CreateFile(
        "NUL", api.READ | api.WRITE, api.SHARE_READ | api.SHARE_WRITE, 0, api.OPEN_EXISTING, 0, 0
    )
    opened = [null]
    try:
        for handle in (null, null if errors is None else msvcrt.get_osfhandle(errors)):
            copy = _winapi.DuplicateHandle(this, handle, this, 0, True, _winapi.DUPLICATE_SAME_ACCESS)
            opened.append(copy)
        _, nothing, told = opened
        streams = subprocess.STARTUPINFO(
            dwFlags=_winapi.STARTF_USESTDHANDLES,
            hStdInput=nothing,
            hStdOutput=told,
            hStdError=told,
            lpAttributeList={"handle_list": [nothing, told]},
        )
        arguments = (command[0], subprocess.list2cmdline(command), None, None, True)
        rest = (environment, directory, streams)
        try:
            started = _winapi.CreateProcess(*arguments, _DETACHED | _BREAKAWAY, *rest)
        except PermissionError:
            started = _winapi.CreateProcess(*arguments, _DETACHED, *rest)
        opened += started[:2]
    finally:
        for handle in opened:
            _winapi.CloseHandle(handle)


def deadly_size_bytes() -> float:
    """Infinite: Windows has no limit on the size of files that ends a process."""
    return float("inf")
