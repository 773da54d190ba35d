"""A request body becomes a ``Parcel``, which the store can write, or a ``RefusalError``. Pure.

Accepted is Flower's own form (Flower 1.2 to 1.42, and flwr-datasets), and the burst of the sidecar. Fields
that are not known here are kept. A content is unpacked up to a limit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from flwr_telemetry.record import MAX_DEPTH, date_us
from flwr_telemetryd.burst import codec

from .errors import RefusalError

MAX_PACKED_BYTES = 1024 * 1024
MAX_UNPACKED_BYTES = 2 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_EVENT_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")
_MOST_CHARACTERS = 64
_UUID_CHARACTERS = 36
_UUID_BYTES = 16
_MOST_COUNT = 2**31 - 1
_CONTAINERS = (dict, list)


class Profile(NamedTuple):
    """The versions and the machine that an event names. Unknown texts are empty, unknown numbers None."""

    package: str
    version: str
    system: str
    implementation: str
    python: str
    machine: str
    cpu_count: int | None
    cpu_physical: int | None
    memory_gib: int | None

    @property
    def digest(self) -> bytes:
        """Equal for equal profiles only; 16 bytes."""
        return hashlib.sha256(json.dumps(self).encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class Span:
    """The events of one cluster in a body."""

    cluster: bytes
    """See ``cluster_id``."""
    first: int
    """The date of the first event, in microseconds since the epoch."""
    last: int
    n: int
    """The number of events."""
    failed: int
    """The number of those that report a failure."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A body that is sound, with all that the database holds of it."""

    key: bytes
    """32 bytes: the idempotency key."""
    digest: bytes | None
    """SHA-256 of the body; None if the key is just that."""
    source: str
    event_type: str
    profile: Profile
    ok: bool | None
    """Whether every event reports success; None if they say nothing about it."""
    spans: tuple[Span, ...]
    raw: bytes
    """The body, compressed by zlib."""

    @property
    def count(self) -> int:
        """The number of events."""
        return sum(span.n for span in self.spans)


def unpacked(data: bytes, coding: str) -> bytes:
    """The body in a request's content.

    Args:
        data: the content.
        coding: its ``Content-Encoding``; empty without one.

    Raises:
        RefusalError: 413 if it is too large, 415 if the coding is not known, 400 if it is damaged.
    """
    coding = coding.strip().lower()
    if coding in {"gzip", "x-gzip"}:
        if len(data) > MAX_PACKED_BYTES:
            raise RefusalError(413, f"more than {MAX_PACKED_BYTES} compressed bytes")
        unpacker = zlib.decompressobj(_GZIP)
        try:
            data = unpacker.decompress(data, MAX_UNPACKED_BYTES + 1)
        except zlib.error as error:
            raise RefusalError(400, "the content is not gzip") from error
        if len(data) <= MAX_UNPACKED_BYTES and (not unpacker.eof or unpacker.unused_data):
            raise RefusalError(400, "the gzip content does not end where it should")
    elif coding not in {"", "identity"}:
        raise RefusalError(415, "this Content-Encoding is not known; use gzip, or none")
    if len(data) > MAX_UNPACKED_BYTES:
        raise RefusalError(413, f"more than {MAX_UNPACKED_BYTES} bytes")
    if len(data) > MAX_LINE_BYTES and max(map(len, data.split(b"\n"))) > MAX_LINE_BYTES:
        raise RefusalError(413, f"a line of more than {MAX_LINE_BYTES} bytes")
    return data


def parcel(data: bytes, key: str | None) -> Parcel:
    """The parcel of a body.

    Args:
        data: the body, unpacked.
        key: the ``Idempotency-Key``, bare or in double quotes; None without one.

    Raises:
        RefusalError: 400 if it is no JSON, 422 if a field is wrong.
    """
    body = _decoded(data)
    context = _map(body, "context")
    details = _map(body, "event_details")
    event_type = _text(body, "event_type", "")
    if not _EVENT_TYPE.fullmatch(event_type):
        raise RefusalError(422, "an event type is made of capital letters, digits and _", "event_type")
    source = canonical(_text(context, "source", "context."))
    _text(context, "cluster", "context.")
    try:
        date_us(_text(context, "date", "context."))
    except (ValueError, OverflowError) as error:
        raise RefusalError(422, "a date in ISO 8601 with an offset is needed", "context.date") from error
    if "burst" in body and not codec.is_expandable(body):
        raise RefusalError(422, "its count, clusters, first row or rows are wrong", "burst")
    if not _is_flat(body, MAX_DEPTH + 3):
        raise RefusalError(422, f"nested deeper than {MAX_DEPTH}", "event_details")
    profile = _profile(context)
    spans = tuple(_spans(body))
    digest = hashlib.sha256(data).digest()
    own_key = _key_bytes(key, digest)
    is_told = event_type.endswith("_LEAVE") and not details.keys().isdisjoint({"success", "exit_code"})
    return Parcel(
        key=own_key,
        digest=None if own_key == digest else digest,
        source=source,
        event_type=event_type,
        profile=profile,
        ok=not any(span.failed for span in spans) if is_told else None,
        spans=spans,
        raw=zlib.compress(data),
    )


def canonical(source: str) -> str:
    """A source ID in the one spelling under which it is stored; a text that is no UUID is unchanged."""
    try:
        return str(uuid.UUID(source))
    except ValueError:
        return source


def rows(body: Mapping[str, Any]) -> list[tuple[bytes, int]]:
    """Cluster and date of each event in a decoded body, in the order of ``codec.events``."""
    id_of = functools.cache(cluster_id)  # many events have few clusters
    return [(id_of(mark.cluster), mark.at_us) for mark in codec.marks(body)]


def reduced(body: Mapping[str, Any], kept: list[int]) -> bytes:
    """A body of only these events of a burst: ``expand`` of it gives just those, unchanged.

    Args:
        body: the decoded burst.
        kept: the indices of its rows, ascending; at least one.
    """
    burst = body["burst"]
    chosen = [burst["events"][index] for index in kept]
    offset_us = chosen[0][1]
    head = next(codec.events({**body, "burst": {**burst, "events": [chosen[0]]}}))
    if len(chosen) == 1:
        return codec.dumps(head).encode()
    clusters: dict[str, int] = {}
    events = [
        [clusters.setdefault(burst["clusters"][cluster], len(clusters)), at_us - offset_us, *values]
        for cluster, at_us, *values in chosen
    ]
    whole = {"count": len(events), "clusters": [*clusters], "varying": burst["varying"], "events": events}
    return codec.dumps({**head, "burst": whole}).encode()


def cluster_id(cluster: str) -> bytes:
    """A cluster in 16 bytes: its UUID, or of any other text a hash."""
    if len(cluster) == _UUID_CHARACTERS:
        try:
            found = bytes.fromhex(cluster.replace("-", ""))
        except ValueError:
            found = b""
        if len(found) == _UUID_BYTES:
            return found
    return hashlib.sha256(cluster.encode("utf-8", "surrogatepass")).digest()[:_UUID_BYTES]


def _decoded(data: bytes) -> dict[str, Any]:
    def not_json(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        body = json.loads(data.decode(), parse_constant=not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RefusalError(400, "the body is no JSON in UTF-8") from error
    if type(body) is not dict:
        raise RefusalError(422, "the body is no JSON object")
    return body


def _finite(text: str) -> float:
    """A number with a fraction or an exponent. JSON could not give back one that is read as an infinity."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _is_flat(value: Any, depth: int) -> bool:
    """Whether at most so many containers are nested. Deeper ones could not be encoded again for `export`."""
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return True
    return depth > 0 and all(_is_flat(item, depth - 1) for item in value if type(item) in _CONTAINERS)


def _map(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if type(value) is not dict:
        raise RefusalError(422, "an object is needed", name)
    return value


def _text(parent: Mapping[str, Any], name: str, above: str) -> str:
    value = parent.get(name)
    if type(value) is not str or not 0 < len(value) <= _MOST_CHARACTERS or not value.isprintable():
        raise RefusalError(422, f"a text of 1 to {_MOST_CHARACTERS} characters is needed", above + name)
    return value


def _key_bytes(key: str | None, digest: bytes) -> bytes:
    key = (key or "").strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        return digest
    if _KEY.fullmatch(key):
        return bytes.fromhex(key)
    return hashlib.sha256(key.encode()).digest()


def _profile(context: Mapping[str, Any]) -> Profile:
    package = context.get("flower", context.get("package", {}))
    names = ("flower" if "flower" in context else "package", "platform", "hw")
    parts = (package, context.get("platform", {}), context.get("hw", {}))
    for name, part in zip(names, parts, strict=True):
        if type(part) is not dict:
            raise RefusalError(422, "an object is needed", f"context.{name}")
    package, platform, hw = parts

    def text(part: Mapping[str, Any], name: str) -> str:
        value = part.get(name)
        return value[:_MOST_CHARACTERS] if type(value) is str and value.isprintable() else ""

    def number(name: str) -> int | None:
        value = hw.get(name)
        return value if type(value) is int and 0 <= value <= _MOST_COUNT else None

    return Profile(
        package=text(package, "package_name"),
        version=text(package, "package_version"),
        system=text(platform, "system"),
        implementation=text(platform, "python_implementation"),
        python=text(platform, "python_version"),
        machine=text(platform, "machine"),
        cpu_count=number("cpu_count"),
        cpu_physical=number("cpu_count_physical"),
        memory_gib=number("memory_gib"),
    )


def _spans(body: Mapping[str, Any]) -> Iterator[Span]:
    id_of = functools.cache(cluster_id)
    found: dict[bytes, list[int]] = {}
    for mark in codec.marks(body):
        span = found.setdefault(id_of(mark.cluster), [mark.at_us, mark.at_us, 0, 0])
        span[1] = mark.at_us  # the rows are in order of time
        span[2] += 1
        span[3] += mark.failed
    for cluster, (first, last, n, failures) in found.items():
        yield Span(cluster, first, last, n, failures)
