"""Which events may share a body, and the values of their details in JSON. Pure.

Most events of a spool differ from an earlier event in cluster and date alone. So a payload is not decoded if
the cache knows all its other bytes. The cache has two levels: the bytes of the context, then the bytes before
it. Each is decoded and checked once. The record format does not promise one way to pack an event. A payload
that is packed in another way than the emitter's is decoded whole, with the same result.

This module never accepts a payload that ``record.decode`` refuses. Its memory is bounded.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii

import msgpack

from flwr_telemetry import packing, record
from flwr_telemetry.hardware import add_facts
from flwr_telemetry.named import Any, NamedTuple
from flwr_telemetry.record import Event

dumps = json.JSONEncoder(separators=(",", ":")).encode
"""The JSON of every body: no white space, ASCII."""


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("NaN or an infinity")
    return float.__repr__(value)


_TEXT_OF: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    float: _float_text,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""The JSON of the most common values: the same as by ``dumps``, in a tenth of the time."""
_PLAIN = frozenset(_TEXT_OF)

_CONTEXT_KEY, _CLUSTER_KEY, _DATE_KEY = b"\xa7context", b"\xa7cluster\xd9\x24", b"\xa4date\xd3"
_OWN = struct.Struct(">36s6sq")
"""The cluster, the key and type of the date, and the date: the bytes that differ between most payloads."""

_PROBES = ((b"0" * 36, 0), (b"1" * 36, 1))
_NO_DETAILS = {"event_type": "", "event_details": {}}

_MAX_CACHED_BYTES = 2 * 1024 * 1024
# Upper bounds of the memory that the cache takes for an entry, for each of its details, and for each byte.
_ENTRY_BYTES, _DETAIL_BYTES, _BYTE_FACTOR = 400, 64, 8


class GroupKey(NamedTuple):
    """Events with equal keys may share a body. The context is compared by its bytes: ``1 == True == 1.0``."""

    event_type: str
    names: tuple[str, ...]
    """The names of the details, in order."""
    packed_context: bytes
    """The context in msgpack, with hardware, an empty cluster and a date of 0."""

    @property
    def context(self) -> dict[str, Any]:
        """The context that the events share."""
        return msgpack.unpackb(self.packed_context)  # type: ignore[no-any-return]


Values = str
"""The values of an event's details in JSON, a line each. Equal texts mean equal msgpack bytes."""

Row = tuple[GroupKey, Values, str, int]
"""An event: its group and values, its cluster, and its date in microseconds since the epoch."""

_Rows = dict[bytes, tuple[GroupKey, Values]]


class RecordGrouper:
    """Makes rows of events.

    Args:
        hardware: added to ``context.hw`` of every event.
    """

    def __init__(self, hardware: Mapping[str, int]) -> None:
        self._hardware = dict(hardware)
        self._cached_bytes = 0
        self._cache: dict[tuple[bytes, bytes], tuple[bytes, _Rows]] = {}
        """By the bytes of a context around ``_OWN``: its packed form, and rows by the bytes before it."""

    def of_payload(self, payload: bytes) -> Row:
        """The row of a record's payload.

        Raises:
            NotAnEventError: as ``record.decode`` does.
        """
        own = payload.rfind(_CLUSTER_KEY) + len(_CLUSTER_KEY)
        start = payload.rfind(_CONTEXT_KEY, 0, own)
        try:
            cluster, date_key, date_us = _OWN.unpack_from(payload, own)
            if date_key == _DATE_KEY and packing.MIN_DATE_US <= date_us <= packing.MAX_DATE_US:
                around = payload[start:own], payload[own + _OWN.size :]
                packed_context, rows = self._cache.get(around) or self._learn_context(*around)
                head = payload[:start]
                key, values = rows.get(head) or self._learn_head(head, packed_context, rows)
                return key, values, cluster.decode(), date_us
        except (LookupError, ValueError, TypeError, msgpack.UnpackException, struct.error):
            pass  # packed in another way, or no event
        return self.of_event(record.decode(payload))

    def of_event(self, event: Event) -> Row:
        """The row of a decoded event."""
        context = event["context"]
        key, values = _row(event["event_type"], event["event_details"], self._packed(context))
        return key, values, context["cluster"], context["date"]

    def _learn_context(self, before: bytes, after: bytes) -> tuple[bytes, _Rows]:
        """Cache a context. Raises an error unless it is one whole pair, its cluster and date at ``_OWN``."""
        for cluster, date_us in _PROBES:  # two, because one may equal a value elsewhere in the context
            event = msgpack.unpackb(b"\x81" + before + _OWN.pack(cluster, _DATE_KEY, date_us) + after)
            record.check_event({**_NO_DETAILS, **event})
            context = event["context"]
            if (context["cluster"].encode(), context["date"]) != (cluster, date_us):
                raise ValueError
        self._note_size(len(before + after), 0)
        known = self._cache[before, after] = self._packed(context), {}
        return known

    def _learn_head(self, head: bytes, packed_context: bytes, rows: _Rows) -> tuple[GroupKey, Values]:
        """Cache a type and details. Raises an error unless they are two whole pairs of a map of three."""
        pairs = msgpack.unpackb(b"\x82" + head[1:])
        event_type, details = pairs["event_type"], pairs["event_details"]
        if head[:1] != b"\x83" or type(event_type) is not str or type(details) is not dict:
            raise ValueError
        if not _PLAIN.issuperset(map(type, itertools.chain(details, details.values()))):
            record.check_json(details, record.MAX_DEPTH + 1)
        found = rows[head] = _row(event_type, details, packed_context)
        self._note_size(len(head), len(details))
        return found

    def _note_size(self, packed_bytes: int, details: int) -> None:
        """Count an entry. Empties the cache if it gets too large."""
        self._cached_bytes += _ENTRY_BYTES + _BYTE_FACTOR * packed_bytes + _DETAIL_BYTES * details
        if self._cached_bytes > _MAX_CACHED_BYTES:
            self._cache, self._cached_bytes = {}, 0

    def _packed(self, context: dict[str, Any]) -> bytes:
        context = add_facts(context, self._hardware)
        return record.pack({**context, "cluster": "", "date": 0})


def _row(event_type: str, details: dict[str, Any], packed_context: bytes) -> tuple[GroupKey, Values]:
    texts = [_TEXT_OF.get(type(value), dumps)(value) for value in details.values()]
    return GroupKey._make((event_type, tuple(details), packed_context)), "\n".join([*texts, ""])
