"""On Windows: the names of the user, and the owner of the site's file.

Python shows neither owner nor mode of a file. The ACL of a user's profile keeps it private, but the site's
file is not in a profile. Every user may create a free name below ``%PROGRAMDATA%``, so its owner is checked.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import ctypes
import os
from collections.abc import Iterator, Mapping
from ctypes import wintypes

from . import api
from .files import is_link

HOME_VARIABLE = "USERPROFILE"
SITE_FILE = os.path.join(os.environ.get("PROGRAMDATA") or r"C:\ProgramData", "flwr", "telemetry.toml")


def is_own(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take every file for the user's own: its ACL decides who can use it."""
    return True


def is_open_to_others(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take no file for one that others may write to; see ``is_own``."""
    return False


def is_private(status: os.stat_result) -> bool:  # noqa: ARG001
    """Take every file for one that the user alone may read; see ``is_own``."""
    return True


def distrust(path: os.PathLike[str] | str) -> str:
    """As ``system.distrust``. The owner of a directory decides who may write to what is in it."""
    directory = os.path.dirname(path)
    for name in (directory, os.fspath(path)):
        if is_link(name):
            return f"{name} is a link; remove it"
        if not _is_of_administrators(name):
            advice = f'`icacls "{directory}" /setowner *S-1-5-32-544 /T` makes it theirs'
            return f"{name} does not belong to the administrators; {advice}"
    return ""


_FILE_OBJECT, _OWNER = 1, 1
_LOCAL_SYSTEM, _ADMINISTRATORS = 22, 26
"""Numbers of ``WELL_KNOWN_SID_TYPE``."""


def _is_of_administrators(path: str) -> bool:
    """Whether a file belongs to the administrators or to the system; a new file of theirs does."""
    owner, found = ctypes.c_void_p(), ctypes.c_void_p()
    asked = (path, _FILE_OBJECT, _OWNER, ctypes.byref(owner), None, None, None, ctypes.byref(found))
    if api.advapi32.GetNamedSecurityInfoW(*asked):
        return False
    try:
        return any(api.advapi32.IsWellKnownSid(owner, number) for number in (_LOCAL_SYSTEM, _ADMINISTRATORS))
    finally:
        api.kernel32.LocalFree(found)


def setting_of(name: str, value: str) -> str:
    """As ``system.setting_of``."""
    return f"`set {name}={value}` (PowerShell: `$env:{name}={value}`)"


def lasting_setting_of(name: str, value: str) -> str:
    """As ``system.lasting_setting_of``."""
    return f"`setx {name} {value}` does so for each window that is opened later"


def user_id() -> str:
    """The name of the user, because there is no number."""
    return account()[0]


def _told(function: ctypes._NamedFuncPointer, *arguments: int) -> str:
    """The text that a function of Windows writes into a buffer; empty if it fails."""
    buffer, size = ctypes.create_unicode_buffer(257), wintypes.DWORD(257)
    return buffer.value if function(*arguments, buffer, ctypes.byref(size)) else ""


def account() -> tuple[str, str]:
    """As ``system.account``."""
    return _told(api.advapi32.GetUserNameW) or os.environ.get("USERNAME", ""), os.path.expanduser("~")


_DNS_HOST_NAME = 1


def node_name() -> str:
    """The name of this machine, as ``socket.gethostname()`` has it."""
    return _told(api.kernel32.GetComputerNameExW, _DNS_HOST_NAME) or os.environ.get("COMPUTERNAME", "")


def user_home(environ: Mapping[str, str]) -> str:
    """As Flower finds it, which is ``Path.home()``: by USERPROFILE, and not by HOME."""
    return environ.get("USERPROFILE") or os.path.expanduser("~")


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
    return buffer.value if api.kernel32.GetShortPathNameW(path, buffer, len(buffer)) else path


def _forms(path: str) -> Iterator[str]:
    """``C:/Users/x`` and, as in shells of Unix, ``/c/Users/x``."""
    drive, rest = os.path.splitdrive(path.replace("\\", "/"))
    yield drive + rest
    if drive[1:] == ":":
        yield f"/{drive[0].lower()}{rest}"
