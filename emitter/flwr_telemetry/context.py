"""Declares every collected field with its reason, and tells of which fields a home was told.

The documentation is made from ``FIELDS``. An event's context holds no field that is not declared there: a
test compares ``identity.STATIC``, and a real event, with that list. No field may hold a user name, host name,
path or address. The sidecar adds ``hw.cpu_count_physical``, ``hw.memory_gib`` and ``burst``.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from . import files
from .errors import SpoolUnsafeError
from .layout import FIELDS_DIGEST, MAX_NOTICE_BYTES
from .named import NamedTuple


class Field(NamedTuple):
    """One reported field."""

    name: str
    """The path in the wire format, with dots."""
    kind: str
    """The JSON type, in words."""
    why: str
    """The question that the field answers, from Flower's public page if that has one."""
    since: str = "0.1.0"
    """The first release that reports it. A later one makes every home tell of it before it is sent."""


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
    Field("context.hw.cpu_count", "integer", "Hardware properties: logical processors."),
    Field("context.hw.cpu_count_physical", "integer", "Hardware properties: physical cores."),
    Field("context.hw.memory_gib", "integer", "Hardware properties: memory, rounded to whole GiB."),
    Field("context.platform.system", "string", "Operating system."),
    Field("context.platform.release", "string", "Operating system: kernel release."),
    Field("context.platform.platform", "string", "Operating system: with C library."),
    Field("context.platform.python_implementation", "string", "Python version: CPython or another."),
    Field("context.platform.python_version", "string", "Python version."),
    Field("context.platform.machine", "string", "Hardware properties: processor family."),
    Field("context.platform.architecture", "array", "Hardware properties: bits, file format."),
    Field("context.platform.version", "string", "Operating system: kernel build."),
    Field("burst.count", "integer", "Of several events in one request: how many they are."),
    Field("burst.clusters", "array", "Of several events in one request: the cluster IDs of all."),
    Field("burst.varying", "array", "Of several events in one request: the details in which they differ."),
    Field("burst.events", "array", "Of each of them: its cluster, its delay in µs, and those details."),
)


_FIRST_RELEASE = "0.1.0"
_NOT_LOOKED_AT = "+"
"""Stands before the name of a field that was told as new, and that nobody has looked at."""


class Told(NamedTuple):
    """The fields of which a home was told."""

    names: frozenset[str]
    fresh: frozenset[str]
    """Those that were told as new, and that nobody has looked at (``flwr-telemetry fields --new``)."""


def told(noticed: Path) -> Told | None:
    """The fields that ``noticed`` names; None without such a file: the home was told of nothing yet.

    An empty file is that of a home that was told before the file held the list.
    """
    try:
        lines = files.read_bytes(noticed, MAX_NOTICE_BYTES).decode(errors="replace").split()[1:]
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
    return "\n".join([FIELDS_DIGEST, *names, ""]).encode()
