"""Decodes records, and gives their wire format; ``packing.py`` makes them. This text specifies the format.

A segment is a sequence of records. Each is one msgpack object ``[crc32(payload), payload]`` in fixed
widths, so that it can be found again after damage::

    offset  bytes
    0       92               array of 2
    1       CE c c c c       uint 32, big-endian: CRC-32 (zlib's) of the payload
    6       C5 n n           bin 16, big-endian: length of the payload, at most 65535
    9       payload          n bytes

Thus an undamaged segment is a plain msgpack stream. The payload is a msgpack map::

    {"event_type": str, "event_details": map,
     "context": {"partner": str, "source": str, "cluster": str, "date": int, "flower": map, …}}

``date`` is an integer: microseconds since the epoch, UTC (``D3``, int 64). Events of flwr-datasets have
``package`` in place of ``flower``, and no ``partner``. An event that must never be sent has ``upload``, which
is false: it was reported while ``upload = false`` held. Everything else in the context has the wire format.
JSON can express everything in the payload: it has no binary, extension, NaN or infinity, and only strings as
keys.

On the wire, an event is Flower's own JSON. It differs from the payload in ``context.date`` alone: there the
date is ISO 8601 text, exactly as Flower's ``datetime.isoformat()`` gives it.

Any process of the host writes, one record in one ``write``. Only the sidecar deletes, a whole segment at a
time. After bytes that are no record, a reader searches for the next header whose checksum is right. So a torn
or corrupt record costs no other record. A right checksum over something that is no event is damage, too.

This module never touches a file, a clock or the environment.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgpack

from .named import Any
from .packing import MAX_DATE_US, MIN_DATE_US

MAX_DEPTH = 100
"""The deepest nesting of containers in the details, far below the limits of msgpack and json."""

_IDS = ("partner", "source", "cluster")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Event = dict[str, Any]


class NotAnEventError(ValueError):
    """The checksum of a payload is right, but it is no event of the specification above."""


pack: Callable[[Any], bytes] = msgpack.packb
"""A value in msgpack; raises as msgpack does, ValueError above all."""


def decode(payload: bytes) -> Event:
    """The event in ``payload``.

    Raises:
        NotAnEventError: it holds no event. No other exception, whatever the bytes are.
    """
    try:
        event = msgpack.unpackb(payload)
    # A ValueError means broken UTF-8, excess bytes, wrong keys or deep nesting, and the others truncation.
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise NotAnEventError(type(error).__name__) from error
    check_event(event)
    return event  # type: ignore[no-any-return]


def check_event(event: Any) -> None:
    """Raise NotAnEventError unless ``event`` meets the specification above."""
    if type(event) is not dict or event.keys() != {"event_type", "event_details", "context"}:
        raise NotAnEventError("not a map of event_type, event_details and context")
    context = event["context"]
    if type(event["event_type"]) is not str or type(event["event_details"]) is not dict:
        raise NotAnEventError("event_type is no string, or event_details no map")
    if type(context) is not dict:
        raise NotAnEventError("context is no map")
    ids = ("source", "cluster") if "package" in context else _IDS
    if not {*ids, "date"} <= context.keys():
        raise NotAnEventError("context lacks a required name")
    date = context["date"]
    if type(date) is not int or not MIN_DATE_US <= date <= MAX_DATE_US:
        raise NotAnEventError("date is no integer, or beyond the calendar")
    if not all(type(context[name]) is str for name in ids):
        raise NotAnEventError("partner, source or cluster is no string")
    try:
        check_json(event, MAX_DEPTH + 2)
    except ValueError as error:
        raise NotAnEventError(str(error)) from error


def check_json(value: Any, depth: int = MAX_DEPTH) -> None:
    """Check that JSON and msgpack can express ``value``.

    ``depth`` is the number of containers that may be nested. Types must be exact, as msgpack gives them.

    Raises:
        ValueError: they cannot; the message names the type of the offending value, never the value.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise ValueError("an integer beyond 64 bits")
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError("NaN or an infinity")
    elif kind is dict or kind is list:
        if depth <= 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if kind is dict:
            if not all(type(name) is str for name in value):
                raise ValueError("a key that is no string")
            value = value.values()
        for item in value:
            check_json(item, depth - 1)
    else:
        raise ValueError(f"a value of type {kind.__name__}")


def date_text(date_us: int) -> str:
    """``2026-11-22T10:00:00.123456+00:00`` for microseconds since the epoch (no fraction if it is 0)."""
    return (_EPOCH + timedelta(microseconds=date_us)).isoformat()


def date_us(text: str) -> int:
    """The inverse of ``date_text``; raises ValueError if ``text`` is no date with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a date without an offset")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_wire(event: dict[str, Any]) -> dict[str, Any]:
    """A record's event in the wire format; the order of all names is kept."""
    context = event["context"]
    return {**event, "context": {**context, "date": date_text(context["date"])}}
