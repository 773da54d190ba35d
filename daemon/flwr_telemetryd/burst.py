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

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr_telemetry.record import Event, date_text, date_us

from .group import Group
from .members import Kind, Member, Members, dumps

__all__ = ["Coalescer", "NotABodyError", "coalesce", "count", "dumps", "events", "expand"]

MAX_BODY_BYTES = 1024 * 1024 - 1
MAX_HELD_BYTES = 4 * 1024 * 1024


class NotABodyError(ValueError):
    """Something that was never made by ``coalesce``: damage on the disk."""


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
    burst = body["burst"] if isinstance(body["burst"], dict) else {}
    number, rows = burst.get("count"), burst.get("events")
    return number if type(number) is int and type(rows) is list and number == len(rows) else 0


class Coalescer:
    """Takes events of records one by one and gives bodies as soon as they are full.

    Args:
        bursts: whether to coalesce at all.
        hardware: what is added to ``context.hw`` of every event.
    """

    def __init__(self, *, bursts: bool = True, hardware: Mapping[str, int] | None = None) -> None:
        self._bursts = bursts
        self._members = Members(hardware or {})
        self._groups: dict[Kind, Group] = {}
        self._held_bytes = 0
        self.member = self._members.of_payload
        """What ``take`` wants, of the payload of a record; raises as ``record.decode``."""

    def add(self, event: Event) -> Iterable[bytes]:
        """Take one event, as ``record.decode`` gives it."""
        return self.take(self._members.of_event(event))

    def take(self, member: Member) -> Iterable[bytes]:
        """Take one member; the bodies that are full now."""
        kind = member[0]
        group = self._groups.get(kind)
        full: Iterable[bytes] = ()
        if group is None:
            group = self._begin(kind)
        held_bytes = group.held_bytes
        if not group.add(member, MAX_BODY_BYTES):
            full = (group.body(),)
            self._held_bytes -= held_bytes
            self._members.forget_details()  # which it held
            group = self._begin(kind)
            held_bytes = group.held_bytes
            group.add(member, MAX_BODY_BYTES)
        self._held_bytes += group.held_bytes - held_bytes
        if self._held_bytes > MAX_HELD_BYTES or not self._bursts:
            return itertools.chain(full, self.finish())
        return full

    @staticmethod
    def source_of(member: Member) -> object:
        """The source ID of a member; None without one."""
        return member[0].context.get("source")

    def _begin(self, kind: Kind) -> Group:
        group = self._groups[kind] = Group(kind)
        self._held_bytes += group.held_bytes
        return group

    def finish(self) -> Iterator[bytes]:
        """The bodies of all that was taken and not yet given; the coalescer is empty then."""
        groups, self._groups, self._held_bytes = self._groups, {}, 0
        self._members.forget()
        while groups:
            _, group = groups.popitem()  # so that the memory of each is free when the next one needs some
            yield group.body()
