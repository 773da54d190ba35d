"""Declares every collected field with its reason, and computes the fields that a process never changes.

The documentation is made from ``FIELDS``. An event's context holds no field that is not declared there,
because the emitter builds its part by iterating over that list. No field may hold a user name, host name,
path or address. The sidecar adds ``hw.cpu_count_physical``, ``hw.memory_gib`` and ``burst``.

The values are exactly those of Flower's own telemetry. But no program is started for them, while
``platform.architecture()`` starts ``file`` and ``platform.platform()`` starts ``uname -p``.

A program may have replaced any function that is called here, and an interpreter that is embedded in a program
may not know its own file. A field that cannot be computed is ``unknown``, and costs no event.
"""

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from . import files, system
from .errors import LoadingError, SpoolUnsafeError
from .imports import undisturbed
from .log import quietly
from .named import NamedTuple
from .source import is_uuid

UNKNOWN = "unknown"

_MAX_TEXT, _MAX_PARTS = 256, 4
"""No true text is longer, and no true array has more parts. A larger one would leave no room for an event."""


class Field(NamedTuple):
    """One reported field."""

    name: str
    """The path in the wire format, with dots."""
    kind: str
    """The JSON type, in words."""
    why: str
    """The question that the field answers, from Flower's public page if that has one."""
    get: Callable[[], Any] | None = None
    """Computes a value that is the same for a whole process; None if the value changes with the event."""
    since: str = "0.1.0"
    """The first release that reports it. A later one makes every home tell of it before it is sent."""


def _of_system(attribute: str, name: str) -> Callable[[], Any]:
    """A value of ``platform``, which on Linux is one of uname(2). That module takes 1.5 ms to import."""

    def get() -> Any:
        if not system.LINUX:
            return getattr(_platform(), name)()
        value = getattr(os.uname(), attribute)
        return "" if value == "unknown" else value

    return get


def _of_python(name: str) -> Callable[[], Any]:
    """A value of ``platform``, which CPython has in the text of its version."""

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
    """``platform.platform()`` without ``uname -p``, which prints nothing useful on Linux."""
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
    """``platform.architecture()`` by the first bytes of the executable, which ``file`` would read."""
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


FIELDS: tuple[Field, ...] = (
    Field("event_type", "string", "Execution mode: which way of starting Flower, and whether it ended."),
    Field("event_details", "object", "Execution mode: what Flower adds to this kind of event, redacted."),
    Field("context.partner", "string", "FLWR_TELEMETRY_PARTNER_ID, or `unavailable`; not of flwr-datasets."),
    Field("context.source", "string", "Random ID in ~/.flwr/source: is an issue recurring?"),
    Field("context.cluster", "string", "Random ID of a workload, in memory only: did what started also end?"),
    Field("context.date", "string", "When it happened: ISO 8601, UTC, microseconds."),
    Field("context.flower.package_name", "string", "Flower version: which package."),
    Field("context.flower.package_version", "string", "Flower version: which versions need care."),
    Field("context.package.package_name", "string", "The same in events of flwr-datasets, without `flower`."),
    Field("context.package.package_version", "string", "The same in events of flwr-datasets."),
    Field("context.hw.cpu_count", "integer", "Hardware properties: logical processors.", os.cpu_count),
    Field("context.hw.cpu_count_physical", "integer", "Hardware properties: physical cores."),
    Field("context.hw.memory_gib", "integer", "Hardware properties: memory, rounded to whole GiB."),
    Field("context.platform.system", "string", "Operating system.", _of_system("sysname", "system")),
    Field(
        "context.platform.release",
        "string",
        "Operating system: kernel release.",
        _of_system("release", "release"),
    ),
    Field("context.platform.platform", "string", "Operating system: with C library.", platform_text),
    Field(
        "context.platform.python_implementation",
        "string",
        "Python version: CPython or another.",
        _of_python("python_implementation"),
    ),
    Field("context.platform.python_version", "string", "Python version.", _of_python("python_version")),
    Field(
        "context.platform.machine",
        "string",
        "Hardware properties: processor family.",
        _of_system("machine", "machine"),
    ),
    Field("context.platform.architecture", "array", "Hardware properties: bits, file format.", architecture),
    Field(
        "context.platform.version",
        "string",
        "Operating system: kernel build.",
        _of_system("version", "version"),
    ),
    Field("burst.count", "integer", "Of several events in one request: how many they are."),
    Field("burst.clusters", "array", "Of several events in one request: the cluster IDs of all."),
    Field("burst.varying", "array", "Of several events in one request: the details in which they differ."),
    Field("burst.events", "array", "Of each of them: its cluster, its delay in µs, and those details."),
)


DIGEST = "0c10874afb0a4468d90a12e3ca0d4ba55f6c9ac98019a624acf3bc7c4d4c90f7"
"""The SHA-256 of the names of all fields, a line each. A test compares it with the list."""

_FIRST_RELEASE = "0.1.0"
_MAX_NOTICE_BYTES = 64 * 1024
_NOT_LOOKED_AT = "+"
"""Stands before the name of a field that was told as new, and that nobody has looked at."""


class Told(NamedTuple):
    """The fields of which a home was told."""

    names: frozenset[str]
    fresh: frozenset[str]
    """Those that were told as new, and that nobody has looked at (``flwr-telemetry fields --new``)."""


def told(noticed: Path) -> Told | None:
    """What ``noticed`` says; None if there is no such file: then no home was told of anything.

    An empty file is that of a home that was told before the file held the list.
    """
    try:
        lines = files.read_bytes(noticed, _MAX_NOTICE_BYTES).decode(errors="replace").split()[1:]
    except FileNotFoundError:
        return None
    except (OSError, SpoolUnsafeError):
        lines = []
    if not lines:
        lines = [field.name for field in FIELDS if field.since == _FIRST_RELEASE]
    fresh = frozenset(line[1:] for line in lines if line.startswith(_NOT_LOOKED_AT))
    return Told(frozenset(line.lstrip(_NOT_LOOKED_AT) for line in lines), fresh)


def untold(noticed: Path) -> tuple[str, ...]:
    """The fields of which a home was not told, while it was told of others. None of them may be sent."""
    known = told(noticed)
    return () if known is None else tuple(field.name for field in FIELDS if field.name not in known.names)


def notice(fresh: Collection[str] = ()) -> bytes:
    """The text of ``noticed`` for the list of today: its SHA-256, and each name."""
    names = (_NOT_LOOKED_AT * (field.name in fresh) + field.name for field in FIELDS)
    return "\n".join([DIGEST, *names, ""]).encode()


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
    for field in FIELDS:
        if field.get is not None:
            _, group, key = field.name.split(".")
            value = _computed(field.get)
            context.setdefault(group, {})[key] = value if _has_kind(value, field.kind) else UNKNOWN
    return context


def _computed(get: Callable[..., Any], *arguments: object) -> Any:
    """A value, or None if it cannot be computed.

    Raises:
        LoadingError: it can be soon.
    """
    try:
        return get(*arguments)
    except LoadingError:
        raise
    except Exception:  # noqa: BLE001 - a program may have replaced what is called
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
    """A static context without the values that may hold a name, where the names to look for are not known."""
    unknown = {**static, "platform": {**static["platform"], **dict.fromkeys(_MAY_NAME, UNKNOWN)}}
    for key in {package.key for package in PACKAGES.values()} & static.keys():
        number = static[key]["package_version"].partition("+")[0]  # a local part may hold anything
        unknown[key] = {**static[key], "package_version": number}
    return unknown


def _has_kind(value: object, kind: str) -> bool:
    """Whether a record can hold a value as one of this JSON type."""
    if kind == "integer":
        return type(value) is int and 0 <= value <= sys.maxsize
    if kind == "array":
        return type(value) is list and len(value) <= _MAX_PARTS and all(map(_is_text, value))
    return _is_text(value)


def _is_text(value: object) -> TypeGuard[str]:
    return type(value) is str and len(value) <= _MAX_TEXT and quietly(value.encode) is not None


def package_version(package: str) -> tuple[str, str]:
    """Name and version of the installed ``package``; both are ``unknown`` if there is none, as in Flower.

    An imported package knows its version. Only otherwise the metadata of this environment are searched,
    because that costs far more.
    """
    for holder in PACKAGES[package].holders:
        module = sys.modules.get(holder)
        name, version = (quietly(getattr, module, f"package_{part}") for part in ("name", "version"))
        if _is_text(name) and _is_text(version):
            return name, version
    found = _computed(_installed().version, PACKAGES[package].distributions)
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
