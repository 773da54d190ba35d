"""The wire format, read by the letter of the design ("Wire" and "Wire, a burst")."""

import copy
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADDED_BY_THE_SIDECAR = ("cpu_count_physical", "memory_gib")

Event = dict[str, Any]


def microseconds(date):
    return (datetime.fromisoformat(date) - _EPOCH) // timedelta(microseconds=1)


def iso(date_us):
    return (_EPOCH + timedelta(microseconds=date_us)).isoformat()


def key_of(body):
    return hashlib.sha256(body).hexdigest()


def member_key(burst_key, index):
    return hashlib.sha256(f"{burst_key}/{index}".encode()).hexdigest()


def expand(body):
    """Give the events of one request body, in the wire's form, in the order of the burst."""
    event = json.loads(body) if isinstance(body, bytes) else copy.deepcopy(body)
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


def expand_all(bodies):
    return [event for body in bodies for event in expand(body)]


def plain(event):
    """Give the record that an event of the wire came from: its date a number, `hw` without additions."""
    record = copy.deepcopy(event)
    record["context"]["date"] = microseconds(record["context"]["date"])
    for name in _ADDED_BY_THE_SIDECAR:
        record["context"]["hw"].pop(name, None)
    return record


def bag(records):
    """Give a multiset of records that tells 1, 1.0 and true apart and ignores the order of keys."""
    return Counter(json.dumps(record, sort_keys=True) for record in records)


def serials(events):
    """Give the sorted values of the detail `n`, by which tests number their events."""
    return sorted(event["event_details"]["n"] for event in events)
