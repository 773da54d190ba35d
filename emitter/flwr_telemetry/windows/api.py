"""Functions and numbers of Windows that Python does not have."""

from __future__ import annotations

import sys

from ..named import Any

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import ctypes
from ctypes import wintypes

ACCESS_DENIED, SHARING_VIOLATION = 5, 32

READ, WRITE = 0x80000000, 0x40000000
APPEND, READ_ATTRIBUTES, WRITE_ATTRIBUTES, SYNCHRONIZE = 0x4, 0x80, 0x100, 0x100000
SHARE_READ, SHARE_WRITE, SHARE_DELETE = 1, 2, 4
CREATE_NEW, CREATE_ALWAYS, OPEN_EXISTING, OPEN_ALWAYS, TRUNCATE_EXISTING = 1, 2, 3, 4, 5
OPEN_REPARSE_POINT = 0x00200000
PLAIN_FILE = 0x80 | OPEN_REPARSE_POINT
"""``FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT``: a link is not followed."""

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)


class Overlapped(ctypes.Structure):
    """``OVERLAPPED``: the position in a file that a call means."""

    _fields_ = (
        ("internal", ctypes.c_void_p),
        ("internal_high", ctypes.c_void_p),
        ("offset", wintypes.DWORD),
        ("offset_high", wintypes.DWORD),
        ("event", wintypes.HANDLE),
    )


_HANDLE, _NUMBER, _POINTER, _TEXT = wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p, wintypes.LPCWSTR
_SIGNATURES: list[tuple[Any, tuple[Any, ...]]] = [
    (kernel32.LockFileEx, (_HANDLE, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _POINTER)),
    (kernel32.UnlockFileEx, (_HANDLE, _NUMBER, _NUMBER, _NUMBER, _POINTER)),
    (kernel32.SetFileTime, (_HANDLE, _POINTER, _POINTER, _POINTER)),
    (kernel32.GetFileSizeEx, (_HANDLE, _POINTER)),
    (kernel32.GetConsoleMode, (_HANDLE, _POINTER)),
    (kernel32.GetDiskFreeSpaceExW, (_TEXT, _POINTER, _POINTER, _POINTER)),
    (kernel32.GetShortPathNameW, (_TEXT, wintypes.LPWSTR, _NUMBER)),
    (kernel32.GetComputerNameExW, (ctypes.c_int, wintypes.LPWSTR, _POINTER)),
    (kernel32.GetProcessTimes, (_HANDLE, _POINTER, _POINTER, _POINTER, _POINTER)),
    (kernel32.SetPriorityClass, (_HANDLE, _NUMBER)),
    (kernel32.LocalFree, (_POINTER,)),
    (advapi32.GetUserNameW, (wintypes.LPWSTR, _POINTER)),
    (advapi32.GetNamedSecurityInfoW, (_TEXT, _NUMBER, _NUMBER, *[_POINTER] * 5)),
    (advapi32.IsWellKnownSid, (_POINTER, _NUMBER)),
]
for _function, _arguments in _SIGNATURES:
    _function.argtypes = _arguments


def last_error() -> OSError:
    """The error of the last call of this thread."""
    return ctypes.WinError(ctypes.get_last_error())
