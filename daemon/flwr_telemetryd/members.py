"""An event as a member of a burst: what it shares with others, and what is its own. Pure.

Most events of a spool differ from one that was seen before in cluster and date alone. So a record is not
decoded if all its other bytes are known: those of the context around cluster and date (a *shape*), and those
of the type and the details before it. What is new is decoded and checked once, as by any reader. A payload of
any other form is decoded whole, and comes to the same: only the format is promised, not one way to pack it.

This room must never take for an event what ``record.decode`` would not, and never grow with a spool.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

import msgpack

from flwr_telemetry import record
from flwr_telemetry.record import Event

dumps = json.JSONEncoder(separators=(",", ":")).encode
"""JSON as every body has it: no white space, ASCII."""

_TEXT_OF: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: int.__repr__,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""How JSON puts what most details consist of; ``json`` comes to the same, and takes ten times as long."""


_OWN = struct.Struct(">36s6sq")
"""Cluster, key and type of the date, date: what is an event's own in the context, as the emitter packs it."""

_CLUSTER_BYTES, _DATE_KEY = 36, b"\xa4date\xd3"
_MAX_NAMES = 15
_MAX_SHAPES = 16
_MAX_PACKED_BYTES = 256 * 1024
_PACKED_BYTES = 512
"""What remembered details take in memory besides their bytes, roughly."""


class Kind:
    """What events must have in common to become one body.

    Attributes:
        event_type: of all of them.
        names: of their details, in order.
        context: with any cluster and date.
    """

    __slots__ = ("context", "event_type", "names")

    def __init__(self, event_type: str, names: tuple[str, ...], context: dict[str, Any]) -> None:
        self.event_type = event_type
        self.names = names
        self.context = context


class Details:
    """The values of an event's details, in JSON: equal texts are equal msgpack bytes.

    Attributes:
        texts: one for each name of the kind.
        size_bytes: of all of them.
    """

    __slots__ = ("size_bytes", "texts")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self.size_bytes = sum(map(len, texts))


Member = tuple[Kind, Details, str, int]
"""Kind, details, cluster, and date in microseconds since the epoch."""


class _Shape(NamedTuple):
    """The bytes of a context around what is an event's own.

    Attributes:
        head: from the key ``context`` to the cluster.
        tail: behind the date.
        context: decoded.
        kinds: by type and names of the details.
    """

    head: bytes
    tail: bytes
    context: dict[str, Any]
    kinds: dict[tuple[str, tuple[str, ...]], Kind]


class Members:
    """Makes members of events; equal kinds and equal details are one object until they are forgotten.

    Args:
        hardware: what is added to ``context.hw`` of every event.
    """

    def __init__(self, hardware: Mapping[str, int]) -> None:
        self._hardware = dict(hardware)
        self._shapes: list[_Shape] = []
        self.forget()

    def forget(self) -> None:
        """Begin anew, so that what was seen long ago takes no memory."""
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._details: dict[tuple[str, ...], Details] = {}
        self._types: dict[bytes, str] = {}
        self._forget_packed()
        for shape in self._shapes:
            shape.kinds.clear()

    def forget_details(self) -> None:
        """Begin anew with the details alone: kinds that others still use stay the same objects."""
        self._details = {}
        self._forget_packed()

    def _forget_packed(self) -> None:
        self._packed: dict[bytes, tuple[tuple[str, ...], Details]] = {}
        self._packed_bytes = 0

    def of_payload(self, payload: bytes) -> Member:
        """The member that a record's payload makes.

        Raises:
            NotAnEventError: as ``record.decode`` does.
        """
        for place, shape in enumerate(self._shapes):
            own = len(payload) - len(shape.tail) - _OWN.size
            start = own - len(shape.head)
            if start > 0 and payload.endswith(shape.tail) and payload.startswith(shape.head, start):
                cluster, date_key, date_us = _OWN.unpack_from(payload, own)
                if date_key == _DATE_KEY and record.MIN_DATE_US <= date_us <= record.MAX_DATE_US:
                    member = self._member(shape, payload[:start], cluster, date_us)
                    if member is not None:
                        if place:  # the next one is of the same context, mostly
                            self._shapes.insert(0, self._shapes.pop(place))
                        return member
        event = record.decode(payload)
        self._note_shape(payload, event)
        return self.of_event(event)

    def of_event(self, event: Event) -> Member:
        """The member that a decoded event makes."""
        context, details = event["context"], event["event_details"]
        kind = self._kind(event["event_type"], tuple(details), self._with_hardware(context))
        return kind, self._details_of(details), context["cluster"], context["date"]

    def _member(self, shape: _Shape, beginning: bytes, cluster: bytes, date_us: int) -> Member | None:
        """A member of what stands before the context and of what is its own in it; None if it is no event."""
        head = record.event_head_of(beginning)
        packed = beginning[len(head) :]
        try:
            event_type = self._types.get(head) or self._type_in(head)
            names, details = self._packed.get(packed) or self._unpack(packed)
            kind = shape.kinds.get((event_type, names))
            if kind is None:
                kind = shape.kinds[event_type, names] = self._kind(event_type, names, shape.context)
            return kind, details, cluster.decode(), date_us
        except (ValueError, TypeError, msgpack.UnpackException):
            return None  # decoding the whole says what is wrong

    def _type_in(self, head: bytes) -> str:
        event_type = self._types[head] = record.event_type_in(head)
        return event_type

    def _unpack(self, packed: bytes) -> tuple[tuple[str, ...], Details]:
        """Names and values of details; raises what msgpack does, or ValueError, if these bytes are none."""
        values = msgpack.unpackb(packed)
        if type(values) is not dict:
            raise TypeError
        for name, value in values.items():
            if type(name) is not str or type(value) not in _TEXT_OF:
                record.check_json(values, record.MAX_DEPTH + 1)
                break
        found = tuple(values), self._details_of(values)
        self._packed_bytes += 2 * len(packed) + _PACKED_BYTES
        if self._packed_bytes > _MAX_PACKED_BYTES:
            self._forget_packed()
        self._packed[packed] = found
        return found

    def _details_of(self, values: Mapping[str, Any]) -> Details:
        texts = tuple([_TEXT_OF.get(type(value), dumps)(value) for value in values.values()])
        return self._details.get(texts) or self._details.setdefault(texts, Details(texts))

    def _kind(self, event_type: str, names: tuple[str, ...], context: dict[str, Any]) -> Kind:
        # By its bytes: in Python 1 == True == 1.0. The order of the names counts, too.
        common = {**context, "cluster": "", "date": 0}
        key = (event_type, names, record.pack(list(common.items())))
        return self._kinds.get(key) or self._kinds.setdefault(key, Kind(event_type, names, context))

    def _with_hardware(self, context: dict[str, Any]) -> dict[str, Any]:
        if self._hardware and isinstance(context.get("hw"), dict):
            return {**context, "hw": {**context["hw"], **self._hardware}}
        return context

    def _note_shape(self, payload: bytes, event: Event) -> None:
        """Remember the context of an event whose bytes are in the order in which the emitter packs them."""
        items = list(event["context"].items())
        names = [name for name, _ in items]
        place = names.index("cluster")
        cluster = event["context"]["cluster"]
        if len(names) > _MAX_NAMES or names[place + 1 : place + 2] != ["date"]:
            return
        before, tail = record.context_parts(dict(items[: place + 1]), dict(items[place + 2 :]))
        own_bytes = len(cluster.encode()) + len(_DATE_KEY)
        start = len(payload) - len(tail) - 8 - len(before)
        if own_bytes != _CLUSTER_BYTES + len(_DATE_KEY) or not payload.startswith(before, max(start, 0)):
            return  # packed in another way
        head = before[:-own_bytes]
        if any((shape.head, shape.tail) == (head, tail) for shape in self._shapes):
            return  # it is known; what stands before it is packed in another way
        shape = _Shape(head, tail, self._with_hardware(event["context"]), {})
        self._shapes = [shape, *self._shapes][:_MAX_SHAPES]
