"""Coalesce events into bodies and expand them again. Pure: events in, bodies out, nothing lost.

Events of one source with equal ``event_type``, equal names in ``event_details`` (in equal order) and
equal context but for ``cluster`` and ``date`` become one body: the earliest event, whole, plus ::

    "burst": {"count": n, "clusters": […], "varying": [names, sorted],
              "events": [[index into clusters, µs since context.date, values of varying …], …]}

Equality is equality of the msgpack bytes, because in Python ``1 == True == 1.0``. No body is larger than
``MAX_BODY_BYTES``. Memory is bounded, whatever a spool holds: a full body is given at once. All bodies are
given when they hold more than ``MAX_HELD_BYTES``.

This module never opens a file, reads a clock or uses the network.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping

from flwr_telemetry import packing
from flwr_telemetry.named import Any, NamedTuple
from flwr_telemetry.record import Event, date_text, date_us

from .encoder import BurstEncoder
from .grouping import GroupKey, RecordGrouper, Row, dumps

__all__ = ["Coalescer", "NotABodyError", "count", "dumps", "events", "expand", "is_expandable", "marks"]

MAX_BODY_BYTES = 1024 * 1024 - 1
MAX_HELD_BYTES = 4 * 1024 * 1024

_GRACEFUL = range(100)
"""Flower's exit codes below 100 tell of no error, but of an end by a signal (``flwr.supercore.exit``)."""


class NotABodyError(ValueError):
    """No ``Coalescer`` made this body: it was damaged on the disk."""


def expand(body: bytes | Mapping[str, Any]) -> list[Event]:
    """The events in a body, in the wire format, in order of time. A plain event is the only one in its body.

    Raises:
        NotABodyError: no ``Coalescer`` made this body.
    """
    return list(events(body))


def events(body: bytes | Mapping[str, Any]) -> Iterator[Event]:
    """As ``expand``, but one by one: a body of a megabyte may hold a hundred thousand events."""
    try:
        whole = {**(json.loads(body) if isinstance(body, bytes) else body)}
        burst = whole.pop("burst", None)
        if burst is None:
            yield whole
            return
        base_us = date_us(whole["context"]["date"])
        for cluster, offset_us, *values in burst["events"]:
            own = {"cluster": burst["clusters"][cluster], "date": date_text(base_us + offset_us)}
            details = {**whole["event_details"], **dict(zip(burst["varying"], values, strict=True))}
            yield {**whole, "event_details": details, "context": {**whole["context"], **own}}
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise NotABodyError(type(error).__name__) from error


def count(body: Mapping[str, Any]) -> int:
    """The number of events in a decoded body; 0 if no ``Coalescer`` made it."""
    if "burst" not in body:
        return 1 if body else 0
    burst = body["burst"] if isinstance(body["burst"], dict) else {}
    number, rows = burst.get("count"), burst.get("events")
    return number if type(number) is int and type(rows) is list and number == len(rows) else 0


class Mark(NamedTuple):
    """An event without its details."""

    cluster: str
    at_us: int
    """Its date, in microseconds since the epoch."""
    failed: bool
    """Whether it reports the end of something that failed."""


def marks(body: Mapping[str, Any]) -> Iterator[Mark]:
    """As ``events``, without their details, for a decoded body whose burst ``is_expandable``."""
    details, context = body["event_details"], body["context"]
    burst = body.get("burst") or {"clusters": [context["cluster"]], "varying": [], "events": [[0, 0]]}
    begin_us, varying = date_us(context["date"]), burst["varying"]
    places = {name: 2 + varying.index(name) for name in ("success", "exit_code") if name in varying}
    clusters, is_end = burst["clusters"], body["event_type"].endswith("_LEAVE")
    failed = is_end and error_type(details) != ""
    for row in burst["events"]:
        if is_end and places:
            failed = error_type({**details, **{name: row[place] for name, place in places.items()}}) != ""
        yield Mark._make((clusters[row[0]], begin_us + row[1], failed))


def error_type(details: Mapping[str, Any]) -> str:
    """The class of the error that the details of an event tell of: a code, or ``_OTHER``; else empty."""
    code = details.get("exit_code")
    if type(code) is int and code not in _GRACEFUL:
        return str(code)
    return "_OTHER" if details.get("success") is False else ""


def is_expandable(body: Mapping[str, Any]) -> bool:
    """Whether ``events`` gives what the burst of a decoded body claims: count, clusters, dates and values.

    A negative or boolean index is a valid one in Python, and the rows may lead beyond the calendar.
    """
    try:
        return _is_expandable(body["burst"], body["event_details"], body["context"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return False


def _is_expandable(burst: dict[str, Any], details: dict[str, Any], context: dict[str, Any]) -> bool:
    clusters, varying, rows = burst["clusters"], burst["varying"], burst["events"]
    if set(map(type, (clusters, varying, rows, *rows))) != {list}:
        return False
    indices, times_us = [row[0] for row in rows], [row[1] for row in rows]
    if set(map(type, indices + times_us)) != {int} or set(map(type, clusters)) != {str}:
        return False
    return (
        burst.keys() == {"count", "clusters", "varying", "events"}
        and count({"burst": burst}) == len(rows)
        and {len(row) for row in rows} == {2 + len(varying)}
        and varying == sorted(set(varying))
        and rows[0] == [0, 0, *map(details.__getitem__, varying)]
        and len(clusters) == len(set(clusters))
        and clusters[0] == context["cluster"]
        and 0 <= min(indices) <= max(indices) < len(clusters)
        and times_us == sorted(times_us)
        and date_us(context["date"]) + times_us[-1] <= packing.MAX_DATE_US
    )


def doubled(body: bytes) -> Iterator[bytes]:
    """The bodies that hold each event of a body twice.

    One of them equals that body only if that is full of one event.
    """
    return coalesced(event for event in events(body) for _ in range(2))


def coalesced(events: Iterable[Event]) -> Iterator[bytes]:
    """The bodies for events of one body, in the wire format."""
    coalescer = Coalescer(most_held_bytes=math.inf)  # a body is bounded
    for event in events:
        context = {**event["context"], "date": date_us(event["context"]["date"])}
        yield from coalescer.add({**event, "context": context})
    yield from coalescer.finish()


class Coalescer:
    """Takes events one by one and gives each body as soon as it is full.

    Args:
        bursts: whether events may share a body.
        hardware: added to ``context.hw`` of every event.
        most_held_bytes: when more are held, roughly, all bodies are given.
    """

    def __init__(
        self,
        *,
        bursts: bool = True,
        hardware: Mapping[str, int] | None = None,
        most_held_bytes: float = MAX_HELD_BYTES,
    ) -> None:
        self._bursts = bursts
        self._most_held_bytes = most_held_bytes
        self._grouper = RecordGrouper(hardware or {})
        self._encoders: dict[GroupKey, BurstEncoder] = {}
        self._held_bytes = 0
        self.row = self._grouper.of_payload
        """Makes the row for ``take`` of a record's payload. Raises as ``record.decode`` does."""

    @staticmethod
    def source_of(row: Row) -> object:
        """The source ID of a row; None without one."""
        return row[0].context.get("source")

    def add(self, event: Event) -> Iterable[bytes]:
        """As ``take``, for an event as ``record.decode`` gives it."""
        return self.take(self._grouper.of_event(event))

    def take(self, row: Row) -> Iterable[bytes]:
        """Take one event. Gives the bodies that are full now."""
        key, values, cluster, date_us = row
        full: tuple[bytes, ...] = ()
        encoder = self._encoders.get(key)
        added_bytes = encoder.add(values, cluster, date_us, MAX_BODY_BYTES) if encoder else 0
        if not added_bytes:
            if encoder:
                full = (encoder.body(),)
                self._held_bytes -= encoder.held_bytes
            encoder = self._encoders[key] = BurstEncoder(key)
            encoder.add(values, cluster, date_us, MAX_BODY_BYTES)
            added_bytes = encoder.held_bytes
        self._held_bytes += added_bytes
        if self._held_bytes > self._most_held_bytes or not self._bursts:
            return itertools.chain(full, self.finish())
        return full

    def finish(self) -> Iterator[bytes]:
        """The bodies of all events that were taken and not yet given. The coalescer is empty then."""
        encoders, self._encoders, self._held_bytes = self._encoders, {}, 0
        while encoders:
            yield encoders.popitem()[1].body()  # frees the memory of each body before it makes the next
