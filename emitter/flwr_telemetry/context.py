"""Declares every collected field with its reason, and reads which fields the notice of a home has named.

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
    """The first release that reports it. After 0.1.0, a field is sent only once a notice has named it."""


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
_FRESH_MARK = "+"
"""Stands before the name of a field in ``Told.fresh``."""


class Told(NamedTuple):
    """The fields that the notices of a home have named."""

    names: frozenset[str]
    fresh: frozenset[str]
    """Those that were named as new, until ``flwr-telemetry fields --new`` shows them."""


def told(noticed: Path) -> Told | None:
    """The fields that the file ``noticed`` names; None if there is no such file, so no notice either.

    An empty file stands for the fields of the first release.
    """
    try:
        lines = files.read_bytes(noticed, MAX_NOTICE_BYTES).decode(errors="replace").split()[1:]
    except FileNotFoundError:
        return None
    except (OSError, SpoolUnsafeError):
        lines = []
    if not lines:
        lines = [field.name for field in FIELDS if field.since == _FIRST_RELEASE]
    fresh = frozenset(line[1:] for line in lines if line.startswith(_FRESH_MARK))
    return Told(frozenset(line.lstrip(_FRESH_MARK) for line in lines), fresh)


def untold(noticed: Path) -> tuple[str, ...]:
    """The fields that are missing in the file ``noticed``, so they may not be sent; none without the file."""
    known = told(noticed)
    return () if known is None else tuple(field.name for field in FIELDS if field.name not in known.names)


def notice(fresh: Collection[str] = ()) -> bytes:
    """The text of ``noticed`` for this release: the SHA-256 of all names, and each name on a line."""
    names = (_FRESH_MARK * (field.name in fresh) + field.name for field in FIELDS)
    return "\n".join([FIELDS_DIGEST, *names, ""]).encode()
