"""Computes the static part of an event's context: the package, the hardware and the platform.

The values are exactly those of Flower's own telemetry, but no program is started for them. In ``platform``,
``architecture()`` starts ``file``, and ``platform()`` starts ``uname -p``. Neither ``platform`` nor
``importlib.metadata`` is imported if uname(2) and the names of files give the same value.

A program may have replaced any function that is called here. An embedded interpreter may not know its own
file. A field that cannot be computed is ``unknown``, and no event is lost for it.

``context.py`` declares every field; most events do not need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from types import ModuleType

from . import system
from .errors import LoadingError, reraise_from_handler
from .imports import undisturbed
from .log import quietly
from .named import Any, NamedTuple, TypeGuard
from .source import is_uuid

UNKNOWN = "unknown"

_MAX_TEXT, _MAX_PARTS = 256, 4
"""The limits of a text and of an array. A larger one is not genuine, and would fill the record."""


# Static values


def _of_system(attribute: str, name: str) -> Callable[[], Any]:
    """Gets a value of ``platform``. On Linux it is one of uname(2), because the import takes 1.5 ms."""

    def get() -> Any:
        if not system.LINUX:
            return getattr(_platform(), name)()
        value = getattr(os.uname(), attribute)
        return "" if value == "unknown" else value

    return get


def _of_python(name: str) -> Callable[[], Any]:
    """Gets a value of ``platform``. In CPython it is in ``sys.version``."""

    def get() -> Any:
        if sys.implementation.name != "cpython":
            return getattr(_platform(), name)()
        return sys.version.split()[0] if name == "python_version" else "CPython"

    return get


@undisturbed
def _platform() -> ModuleType:
    import platform

    return platform


_AS_FILE_NAME = str.maketrans({" ": "_", **dict.fromkeys('/\\:;"()', "-")})


def platform_text() -> str:
    """The value of ``platform.platform()``, without ``uname -p``, which prints nothing useful on Linux."""
    if not system.LINUX:
        text: str = _platform().platform()
        return text
    uname = os.uname()
    try:
        libc = "".join((os.confstr("CS_GNU_LIBC_VERSION") or "").split(maxsplit=1))
    except (ValueError, OSError):  # another C library
        libc = "".join(_platform().libc_ver())
    parts = ("" if part == "unknown" else part for part in (uname.sysname, uname.release, uname.machine))
    text = "-".join(part for part in (*parts, "with", libc) if part)
    # As in the original, which makes the text safe as a file name.
    text = text.translate(_AS_FILE_NAME).replace("unknown", "")
    while "--" in text:
        text = text.replace("--", "-")
    return text.rstrip("-")


def architecture() -> list[str]:
    """The value of ``platform.architecture()``, by the first bytes of the executable, as ``file`` does it."""
    if not system.LINUX:
        return list(_platform().architecture())
    try:
        with open(sys.executable, "rb") as executable:
            magic = executable.read(5)
    except (OSError, TypeError, ValueError):  # no file, no text, or no file name
        magic = b""
    bits = "32bit" if sys.maxsize < 2**32 else "64bit"
    if magic[:4] != b"\x7fELF" or not _program_exists("file"):
        return [bits, ""]
    return [{b"\x01": "32bit", b"\x02": "64bit"}.get(magic[4:], bits), "ELF"]


def _program_exists(name: str) -> bool:
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(directory, name), os.X_OK) for directory in directories)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _is_array(value: object) -> bool:
    return type(value) is list and len(value) <= _MAX_PARTS and all(map(_is_text, value))


STATIC: dict[str, Callable[[], Any]] = {
    "hw.cpu_count": os.cpu_count,
    "platform.system": _of_system("sysname", "system"),
    "platform.release": _of_system("release", "release"),
    "platform.platform": platform_text,
    "platform.python_implementation": _of_python("python_implementation"),
    "platform.python_version": _of_python("python_version"),
    "platform.machine": _of_system("machine", "machine"),
    "platform.architecture": architecture,
    "platform.version": _of_system("version", "version"),
}
"""The fields of a context that are the same for a whole process, and the functions that compute them."""

_KINDS = {"hw.cpu_count": _is_count, "platform.architecture": _is_array}
"""Checks whether a record can hold the value of a field; all others are texts."""

_MAY_NAME = ("platform", "release", "version")
"""The texts of `context.platform` in which a kernel may name its builder or a machine."""


class Package(NamedTuple):
    """A package of Flower's that reports events, and their schema."""

    key: str
    """The field of the context that holds the package's name and version."""
    has_partner: bool
    """Whether its events have a ``partner``."""
    holders: tuple[str, ...]
    """The modules that know the package's name and version, the newest first."""
    distributions: tuple[str, ...]
    """The names under which it may be installed."""


PACKAGES = {
    "flwr": Package(
        "flower", True, ("flwr.supercore.version", "flwr.common.version"), ("flwr", "flwr-nightly")
    ),
    "flwr-datasets": Package("package", False, ("flwr_datasets.common.version",), ("flwr-datasets",)),
}


def static_context(package: str, version: tuple[str, str]) -> dict[str, Any]:
    """The part of a context that is the same for all events of a process, nested as on the wire.

    Args:
        package: one of ``PACKAGES``.
        version: the name and version of the installed package.
    """
    name, number = version
    context: dict[str, Any] = {PACKAGES[package].key: {"package_name": name, "package_version": number}}
    for path, get in STATIC.items():
        group, _, key = path.partition(".")
        value = computed(get)
        has_kind = _KINDS.get(path, _is_text)(value)
        context.setdefault(group, {})[key] = value if has_kind else UNKNOWN
    return context


def computed(get: Callable[..., Any], *arguments: object) -> Any:
    """A value, or None if it cannot be computed.

    Raises:
        LoadingError: it can be computed a moment later.
    """
    try:
        return get(*arguments)
    except LoadingError:
        raise
    except Exception:  # noqa: BLE001 - a program may have replaced what is called
        reraise_from_handler()
        return None


def without_fields(static: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A static context without some fields, given by their paths in the wire format."""
    if not names:
        return static
    return {
        group: {key: value for key, value in values.items() if f"context.{group}.{key}" not in names}
        for group, values in static.items()
    }


def without_names(static: dict[str, Any]) -> dict[str, Any]:
    """A static context without the values that may hold a name; used if the names are not known."""
    unknown = {**static, "platform": {**static["platform"], **dict.fromkeys(_MAY_NAME, UNKNOWN)}}
    for key in {package.key for package in PACKAGES.values()} & static.keys():
        number = static[key]["package_version"].partition("+")[0]  # a local part may hold anything
        unknown[key] = {**static[key], "package_version": number}
    return unknown


def _is_text(value: object) -> TypeGuard[str]:
    return type(value) is str and len(value) <= _MAX_TEXT and quietly(value.encode) is not None


def package_version(package: str) -> tuple[str, str]:
    """Name and version of the installed ``package``; both are ``unknown`` if there is none, as in Flower.

    An imported package has its version in a module. Otherwise the metadata of this environment are searched,
    which takes far longer.
    """
    for holder in PACKAGES[package].holders:
        module = sys.modules.get(holder)
        name, version = (quietly(getattr, module, f"package_{part}") for part in ("name", "version"))
        if _is_text(name) and _is_text(version):
            return name, version
    found = computed(_installed().version, PACKAGES[package].distributions)
    return found if found and _is_text(found[1]) else (UNKNOWN, UNKNOWN)


@undisturbed
def _installed() -> ModuleType:
    from . import installed

    return installed


def partner_id(configured: str | None) -> str:
    """``FLWR_TELEMETRY_PARTNER_ID`` as Flower reports it: the UUID, ``unavailable`` or ``invalid``."""
    if not configured:
        return "unavailable"
    return configured if is_uuid(configured) else "invalid"
