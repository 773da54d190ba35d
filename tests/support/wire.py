"""The wire format, read by the letter of the design ("Wire" and "Wire, a burst")."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADDED_BY_THE_SIDECAR = ("cpu_count_physical", "memory_gib")

Event = dict[str, Any]


def microseconds(date: str) -> int:
    """Give the microseconds since the epoch of an ISO date of the wire, exactly."""
    return (datetime.fromisoformat(date) - _EPOCH) // timedelta(microseconds=1)


def iso(date_us: int) -> str:
    """Give the date of the wire, as Flower writes it, for microseconds since the epoch."""
    return (_EPOCH + timedelta(microseconds=date_us)).isoformat()


def key_of(body: bytes) -> str:
    """Give the idempotency key of a body."""
    return hashlib.sha256(body).hexdigest()


def member_key(burst_key: str, index: int) -> str:
    """Give the key under which one member of a refused burst is sent."""
    return hashlib.sha256(f"{burst_key}/{index}".encode()).hexdigest()


def expand(body: bytes | Event) -> list[Event]:
    """Give the events of one request body, in the wire's form, in the order of the burst."""
    event: Event = json.loads(body) if isinstance(body, bytes) else copy.deepcopy(body)
    if "burst" not in event:
        return [event]
    burst = event.pop("burst")
    start_us = microseconds(event["context"]["date"])
    members = []
    for cluster, offset_us, *values in burst["events"]:
        member = copy.deepcopy(event)
        member["context"]["cluster"] = burst["clusters"][cluster]
        member["context"]["date"] = iso(start_us + offset_us)
        member["event_details"].update(zip(burst["varying"], values, strict=True))
        members.append(member)
    return members


def expand_all(bodies: Iterable[bytes]) -> list[Event]:
    """Give the events of many bodies."""
    return [event for body in bodies for event in expand(body)]


def plain(event: Event) -> Event:
    """Give the record that an event of the wire came from: its date a number, `hw` without additions."""
    record = copy.deepcopy(event)
    record["context"]["date"] = microseconds(record["context"]["date"])
    for name in _ADDED_BY_THE_SIDECAR:
        record["context"]["hw"].pop(name, None)
    return record


def bag(records: Iterable[Event]) -> Counter[str]:
    """Give a multiset of records that tells 1, 1.0 and true apart and ignores the order of keys."""
    return Counter(json.dumps(record, sort_keys=True) for record in records)


def serials(events: Iterable[Event]) -> list[int]:
    """Give the sorted values of the detail `n`, by which tests number their events."""
    return sorted(event["event_details"]["n"] for event in events)
