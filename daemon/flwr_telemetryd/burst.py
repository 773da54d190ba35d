"""Coalesce events into bursts and expand them again. Pure: events in, bodies out, nothing lost.

Events of one source with equal ``event_type``, equal names in ``event_details`` (in equal order) and
equal context but for ``cluster`` and ``date`` become one body: the earliest event, whole, plus ::

    "burst": {"count": n, "clusters": […], "varying": [names, sorted],
              "events": [[index into clusters, µs since context.date, values of varying …], …]}

Equality is equality of the msgpack bytes, since in Python ``1 == True == 1.0``. A body stays under
``MAX_BODY_BYTES``. Memory is bounded: a group is written out when its body is full, and all are when
they hold more than ``MAX_HELD_BYTES`` together, so that it does not matter what lies in a spool.

This room must never touch a file, a clock or the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr_telemetry.record import Event, pack
from flwr_telemetry.wire import date_text, date_us, to_wire

MAX_BODY_BYTES = 1024 * 1024 - 1
MAX_HELD_BYTES = 4 * 1024 * 1024

# Upper bounds of what JSON adds around a burst, a cluster ID and a row.
_BURST_BYTES = 96
_PER_NAME_BYTES = 3
_MEMBER_MEMORY_BYTES = 200
_DETAILS_MEMORY_FACTOR = 4
_GROUP_MEMORY_BYTES = 8 * 1024


class NotABodyError(ValueError):
    """Something that was never made by ``coalesce``: damage on the disk."""


def dumps(value: object) -> str:
    """JSON as every body has it: no white space, ASCII."""
    return json.dumps(value, separators=(",", ":"))


def coalesce(events: Iterable[Event], *, bursts: bool = True) -> Iterator[bytes]:
    """The bodies for ``events``, given in the wire format, in any order.

    ``expand`` gives back exactly these events, as a multiset. With ``bursts`` false, each becomes a body
    of its own.
    """
    coalescer = Coalescer(bursts=bursts)
    for event in events:
        context = {**event["context"], "date": date_us(event["context"]["date"])}
        yield from coalescer.add({**event, "context": context})
    yield from coalescer.finish()


def expand(body: bytes | str | Mapping[str, Any]) -> list[Event]:
    """The events in a body, in the wire format and in order of time; a plain event is its own only one.

    Raises:
        NotABodyError: what is given was never made by ``coalesce``.
    """
    return list(events(body))


def events(body: bytes | str | Mapping[str, Any]) -> Iterator[Event]:
    """The same, one after the other: a body of a megabyte may stand for a hundred thousand events."""
    try:
        yield from _expand(dict(json.loads(body) if isinstance(body, (bytes, str)) else body))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise NotABodyError(type(error).__name__) from error


def _expand(whole: Event) -> Iterator[Event]:
    burst = whole.pop("burst", None)
    if burst is None:
        yield whole
        return
    base_us = date_us(whole["context"]["date"])
    for cluster, offset_us, *values in burst["events"]:
        context = {
            **whole["context"],
            "cluster": burst["clusters"][cluster],
            "date": date_text(base_us + offset_us),
        }
        details = {**whole["event_details"], **dict(zip(burst["varying"], values, strict=True))}
        yield {**whole, "event_details": details, "context": context}


def count(body: Mapping[str, Any]) -> int:
    """How many events a decoded body stands for; 0 for one that was never made by ``coalesce``."""
    if "burst" not in body:
        return 1
    number = body["burst"].get("count") if isinstance(body["burst"], dict) else 0
    return number if type(number) is int and number > 0 else 0


class Coalescer:
    """Takes events of records one by one and gives bodies as soon as they are full.

    Args:
        bursts: whether to coalesce at all.
        hardware: what is added to ``context.hw`` of every event.
    """

    def __init__(self, *, bursts: bool = True, hardware: Mapping[str, int] | None = None) -> None:
        self._bursts = bursts
        self._hardware = dict(hardware or {})
        self._groups: dict[bytes, _Group] = {}
        self._held_bytes = 0

    def add(self, event: Event) -> Iterator[bytes]:
        """Take one event, as ``record.decode`` gives it."""
        context = event["context"]
        if self._hardware and isinstance(context.get("hw"), dict):
            context = {**context, "hw": {**context["hw"], **self._hardware}}
            event = {**event, "context": context}
        if not self._bursts:
            yield dumps(to_wire(event)).encode()
            return
        common = {name: value for name, value in context.items() if name not in {"cluster", "date"}}
        key = pack([event["event_type"], list(event["event_details"]), list(context), common])
        member = _Member(event)
        group = self._groups.get(key)
        if group is not None and group.size_with(member) > MAX_BODY_BYTES:
            self._held_bytes -= group.held_bytes
            yield group.body()
            group = None
        if group is None:
            group = self._groups[key] = _Group(event)
            self._held_bytes += group.held_bytes
        self._held_bytes += group.add(member)
        if self._held_bytes > MAX_HELD_BYTES:
            yield from self.finish()

    def finish(self) -> Iterator[bytes]:
        """The bodies of all that was taken and not yet given; the coalescer is empty then."""
        groups, self._groups, self._held_bytes = self._groups, {}, 0
        while groups:
            _, group = groups.popitem()  # so that the memory of each is free when the next one needs some
            yield group.body()


class _Member:
    """What is an event's own within its group."""

    __slots__ = ("cluster", "date_us", "details", "packed", "sizes")

    def __init__(self, event: Event) -> None:
        self.date_us: int = event["context"]["date"]
        self.cluster: str = event["context"]["cluster"]
        self.details: dict[str, Any] = event["event_details"]
        self.packed = [pack(value) for value in self.details.values()]
        self.sizes = [len(dumps(value)) + 1 for value in self.details.values()]


class _Group:
    """Events that become one body."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._names = list(event["event_details"])
        self._rows: list[tuple[int, int, str, dict[str, Any]]] = []
        self._clusters: set[str] = set()
        self._cluster_bytes = self._longest_cluster = 0
        self._first: list[bytes] | None = None
        self._varying = [False] * len(self._names)
        self._value_bytes = [0] * len(self._names)
        self._details_bytes = 0
        self._earliest_us = self._latest_us = event["context"]["date"]
        bare = {**event, "event_details": {}}
        self._frame_bytes = len(dumps(to_wire(bare))) + _BURST_BYTES
        self._name_bytes = [len(dumps(name)) + _PER_NAME_BYTES for name in self._names]
        self._known: dict[bytes, dict[str, Any]] = {}
        self.held_bytes = _GROUP_MEMORY_BYTES

    def size_with(self, member: _Member) -> int:
        """An upper bound of the body's bytes, were ``member`` in it too."""
        rows = len(self._rows) + 1
        clusters = len(self._clusters) + 1
        span = max(self._latest_us, member.date_us) - min(self._earliest_us, member.date_us)
        row = len(str(span)) + len(str(clusters)) + 4
        own = len(dumps(member.cluster)) + 1
        names = self._cluster_bytes + own + max(self._longest_cluster, own)
        values = sum(
            self._value_bytes[index] + member.sizes[index] + self._name_bytes[index]
            for index in range(len(self._names))
            if self._varying[index] or self._differs(member, index)
        )
        details = max(self._details_bytes, self._size_of_details(member))
        return self._frame_bytes + details + names + rows * row + values

    def add(self, member: _Member) -> int:
        """Take ``member``; returns the bytes of memory that it holds, roughly."""
        for index, size in enumerate(member.sizes):
            self._varying[index] |= self._differs(member, index)
            self._value_bytes[index] += size
        if self._first is None:
            self._first = member.packed
        self._details_bytes = max(self._details_bytes, self._size_of_details(member))
        self._earliest_us = min(self._earliest_us, member.date_us)
        self._latest_us = max(self._latest_us, member.date_us)
        if member.cluster not in self._clusters:
            own = len(dumps(member.cluster)) + 1
            self._clusters.add(member.cluster)
            self._cluster_bytes += own
            self._longest_cluster = max(self._longest_cluster, own)
        # Equal details are kept once: a million equal events must not take a million dicts.
        packed = b"".join(member.packed)
        held = _MEMBER_MEMORY_BYTES
        if packed not in self._known:
            held += _DETAILS_MEMORY_FACTOR * len(packed) + _MEMBER_MEMORY_BYTES
        details = self._known.setdefault(packed, member.details)
        self._rows.append((member.date_us, len(self._rows), member.cluster, details))
        self.held_bytes += held
        return held

    def body(self) -> bytes:
        """The group as one request body."""
        self._rows.sort(key=lambda row: row[:2])
        base_us, _, cluster, details = self._rows[0]
        context = {**self._event["context"], "cluster": cluster, "date": base_us}
        whole = to_wire({**self._event, "event_details": details, "context": context})
        if len(self._rows) == 1:
            return dumps(whole).encode()
        clusters: dict[str, int] = {}
        varying = sorted(name for name, yes in zip(self._names, self._varying, strict=True) if yes)
        # Row by row into text, since ten thousands of rows as lists take many times the memory.
        rows = ",".join(
            dumps(
                [
                    clusters.setdefault(member_cluster, len(clusters)),
                    member_us - base_us,
                    *(member_details[name] for name in varying),
                ]
            )
            for member_us, _, member_cluster, member_details in self._rows
        )
        burst = {"count": len(self._rows), "clusters": list(clusters), "varying": varying, "events": []}
        head = dumps({**whole, "burst": burst})
        return f"{head.removesuffix(']}}')}{rows}]}}}}".encode()

    def _differs(self, member: _Member, index: int) -> bool:
        return self._first is not None and member.packed[index] != self._first[index]

    def _size_of_details(self, member: _Member) -> int:
        return sum(member.sizes) + sum(self._name_bytes)
