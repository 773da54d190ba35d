"""A body in OTLP: the events as log records of OpenTelemetry, in JSON. Pure.

The encoding is that of OTLP/HTTP with JSON (opentelemetry-proto 1.9.0): 64-bit integers are strings, enums
are numbers, and names are in lowerCamelCase. A body becomes one or several *parts*. Each part is a request.

Each name of ``MAPPING`` without the prefix ``flower.`` was checked against the semantic conventions 1.44.0
(in Python: opentelemetry-semantic-conventions 0.66b2). The names of events and of our own attributes follow
their rules: https://opentelemetry.io/docs/specs/semconv/general/naming/.

The same body and key give the same bytes, so a repeated request equals the first one byte for byte. By its
``log.record.uid`` a store can drop a record that comes twice: it depends on the key and on the place of the
event alone.

This module never opens a file, reads a clock or uses the network.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quoted

from flwr_telemetry.named import Any, NamedTuple
from flwr_telemetry.record import Event, date_us
from flwr_telemetry.version import __version__

from ..burst import codec

MAX_RECORDS = 1000
"""The most records of a part."""
MAX_PART_BYTES = 1024 * 1024
"""The largest size of a part before it is compressed, unless a single record is larger."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
INFO, ERROR = 9, 17
"""Numbers of severity."""

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1

_OS_TYPES = {"sunos": "solaris", "dragonfly": "dragonflybsd", "hp-ux": "hpux", "os/390": "zos"}
_ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "amd64"), "amd64"),
    **dict.fromkeys(("aarch64", "arm64"), "arm64"),
    **dict.fromkeys(("armv6l", "armv7l", "armv8l", "arm"), "arm32"),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), "x86"),
    **dict.fromkeys(("ppc64", "ppc64le"), "ppc64"),
    "ppc": "ppc32",
}


def _os_type(system: str) -> str:
    return _OS_TYPES.get(system.lower(), system.lower())


def _architecture(machine: str) -> str:
    return _ARCHITECTURES.get(machine.lower(), machine)


class Mapped(NamedTuple):
    """Where a field of Flower's form stands in OTLP."""

    field: str
    """The path in Flower's form; ``*`` stands for any name."""
    place: str
    """``resource`` or ``attributes``: attributes of either; ``record``: a field of the record itself."""
    name: str
    note: str = ""
    """How the value changes, in words; empty if it stays."""
    convert: Callable[[str], str] | None = None
    """Changes a value that is a string."""


MAPPING: tuple[Mapped, ...] = (
    Mapped("context.flower.package_name", "resource", "service.name"),
    Mapped("context.flower.package_version", "resource", "service.version"),
    Mapped("context.package.package_name", "resource", "service.name"),
    Mapped("context.package.package_version", "resource", "service.version"),
    Mapped("context.source", "resource", "app.installation.id"),
    Mapped("context.partner", "resource", "flower.partner.id"),
    Mapped("context.platform.system", "resource", "os.type", "in lower case: `linux`, `darwin`", _os_type),
    Mapped("context.platform.release", "resource", "os.version"),
    Mapped("context.platform.platform", "resource", "os.description"),
    Mapped("context.platform.version", "resource", "os.build_id"),
    Mapped("context.platform.machine", "resource", "host.arch", "x86_64 is `amd64`", _architecture),
    Mapped(
        "context.platform.python_implementation",
        "resource",
        "process.runtime.name",
        "in lower case",
        str.lower,
    ),
    Mapped("context.platform.python_version", "resource", "process.runtime.version"),
    Mapped("context.platform.architecture", "resource", "flower.platform.architecture"),
    Mapped("context.hw.*", "resource", "flower.hw.*"),
    Mapped("context.*", "resource", "flower.*", "any other field, by its path"),
    Mapped("", "resource", "telemetry.distro.name", "`flwr-telemetry`"),
    Mapped("", "resource", "telemetry.distro.version", "its version"),
    Mapped(
        "context.date",
        "record",
        "timeUnixNano",
        "ns since the epoch; 0 and `flower.event.date` before 1970 and after 2262",
    ),
    Mapped("context.date", "record", "observedTimeUnixNano", "the same"),
    Mapped(
        "event_details.success, .exit_code",
        "record",
        "severityNumber",
        "17 (error) if `success` is false or `exit_code` is not from 0 to 99; otherwise 9 (info)",
    ),
    Mapped("event_type", "record", "eventName", "`flower.` and the type in lower case"),
    Mapped(
        "",
        "attributes",
        "log.record.uid",
        "a UUID from the SHA-256 of `<key>/<index>`: the body's key, and the event's place in it",
    ),
    Mapped("event_type", "attributes", "flower.event.type"),
    Mapped("context.cluster", "attributes", "flower.cluster.id"),
    Mapped(
        "event_details.*",
        "attributes",
        "flower.event.details.*",
        "an integer beyond signed 64 bits is a string; null has no value",
    ),
    Mapped(
        "event_details.exit_code", "attributes", "error.type", "of an error: the code, otherwise `_OTHER`"
    ),
)
"""Every field, and where it goes. ``render`` uses it, and the documentation is made from it."""

_RESOURCE = {row.field: row for row in MAPPING if row.place == "resource" and row.field}
_OF_EACH_EVENT = {"cluster", "date"}


class Part(NamedTuple):
    """The records of one request."""

    first: int
    """The place of its first event in the body, from 0 on."""
    records: list[str]
    """Each record in JSON."""
    frame: tuple[str, str]
    """The JSON before and after the records."""

    @property
    def data(self) -> bytes:
        """The request's content, before it is compressed."""
        return f"{self.frame[0]}{','.join(self.records)}{self.frame[1]}".encode()

    def halves(self) -> tuple[Part, Part]:
        """Two parts with half of the records each; there must be at least two records."""
        middle = len(self.records) // 2
        return (
            self._replace(records=self.records[:middle]),
            self._replace(records=self.records[middle:], first=self.first + middle),
        )


def render(body: bytes, key: str, first: int = 0) -> list[bytes]:
    """The requests that deliver a body, each as the bytes before compression.

    Args:
        body: a body in Flower's form, with one event or a burst.
        key: its idempotency key.
        first: the place of its first event, if it is a piece of the body that has the key.

    Raises:
        NotABodyError: no ``Coalescer`` made this body.
    """
    return [part.data for part in parts(body, key, first)]


def parts(body: bytes, key: str, first: int = 0, skipped: int = 0) -> Iterator[Part]:
    """As ``render``, one part after the other; ``skipped`` events at the beginning are left out."""
    events = itertools.islice(codec.events(body), skipped, None)
    frame = "", ""
    records: list[str] = []
    start = first + skipped
    size_bytes = 0
    for index, event in enumerate(events, start):
        try:
            frame = frame if any(frame) else _frame(event["context"])
            record = _record(event, uid(key, index))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise codec.NotABodyError(type(error).__name__) from error
        if records and (len(records) == MAX_RECORDS or size_bytes + len(record) > MAX_PART_BYTES):
            yield Part(start, records, frame)
            records, start = [], index
        size_bytes = (size_bytes if records else sum(map(len, frame))) + len(record) + len(",")
        records.append(record)
    if records:
        yield Part(start, records, frame)


def uid(key: str, index: int) -> str:
    """The ``log.record.uid`` of an event: a UUID of version 8 (RFC 9562) from a SHA-256.

    Args:
        key: the idempotency key of the body.
        index: the event's place in the body, from 0 on.
    """
    digest = hashlib.sha256(f"{key}/{index}".encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _frame(context: Mapping[str, Any]) -> tuple[str, str]:
    """The JSON around the records of a part: the resource, and the scope."""
    resource = ",".join(itertools.starmap(_attribute, _resource(context).items()))
    scope = f'{{"name":"flwr_telemetry","version":{quoted(__version__)}}}'
    schema = f'"schemaUrl":"{SCHEMA_URL}"'
    before = (
        f'{{"resourceLogs":[{{"resource":{{"attributes":[{resource}]}},'
        f'"scopeLogs":[{{"scope":{scope},"logRecords":['
    )
    return before, f"],{schema}}}],{schema}}}]}}"


def _resource(context: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of the resource, for the context of any event of a body."""
    found: dict[str, Any] = {
        "telemetry.distro.name": "flwr-telemetry",
        "telemetry.distro.version": __version__,
    }
    for path, value in _leaves(context):
        row = _RESOURCE.get(f"context.{path}")
        if row is None:
            found[f"flower.{path}"] = value
        else:
            found[row.name] = row.convert(value) if row.convert and type(value) is str else value
    return found


def _leaves(context: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a context with their paths, cluster and date apart."""
    for group, value in context.items():
        if isinstance(value, dict):
            yield from ((f"{group}.{name}", item) for name, item in value.items())
        elif group not in _OF_EACH_EVENT:
            yield group, value


def _record(event: Event, own_uid: str) -> str:
    """The log record of an event, in JSON."""
    event_type, details, context = event["event_type"], event["event_details"], event["context"]
    attributes = [
        f'{{"key":"log.record.uid","value":{{"stringValue":"{own_uid}"}}}}',
        _attribute("flower.event.type", event_type),
        _attribute("flower.cluster.id", context["cluster"]),
        *(_attribute(f"flower.event.details.{name}", value) for name, value in details.items()),
    ]
    error = codec.error_type(details)
    if error:
        attributes.append(_attribute("error.type", error))
    time_ns = date_us(context["date"]) * 1000
    if not 0 <= time_ns <= _MAX_INT:  # a clock that is wrong by centuries
        time_ns = 0
        attributes.append(_attribute("flower.event.date", context["date"]))
    return (
        f'{{"timeUnixNano":"{time_ns}","observedTimeUnixNano":"{time_ns}",'
        f'"severityNumber":{ERROR if error else INFO},'
        f'"eventName":{quoted(f"flower.{event_type.lower()}")},"attributes":[{",".join(attributes)}]}}'
    )


def _attribute(name: str, value: Any) -> str:
    if value is None:
        return f'{{"key":{quoted(name)}}}'
    return f'{{"key":{quoted(name)},"value":{_value(value)}}}'


def _value(value: Any) -> str:
    """An ``AnyValue`` in JSON."""
    kind = type(value)
    if kind is str:
        return f'{{"stringValue":{quoted(value)}}}'
    if kind is bool:
        return '{"boolValue":true}' if value else '{"boolValue":false}'
    if kind is int:
        # AnyValue has no unsigned integer, and a double would round.
        fitting = "intValue" if _MIN_INT <= value <= _MAX_INT else "stringValue"
        return f'{{"{fitting}":"{value}"}}'
    if kind is float:
        return f'{{"doubleValue":{value!r}}}'
    if kind is list:
        return f'{{"arrayValue":{{"values":[{",".join(map(_value, value))}]}}}}'
    if kind is dict:
        return f'{{"kvlistValue":{{"values":[{",".join(itertools.starmap(_attribute, value.items()))}]}}}}'
    return '{"bytesValue":""}'  # null in an array: some collectors refuse an AnyValue without a value
