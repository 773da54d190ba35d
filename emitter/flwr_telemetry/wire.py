"""The wire format of one event: Flower's own JSON. Pure.

The only difference between an event in a record and on the wire is ``context.date``: an integer of
microseconds there, ISO 8601 text here, in the very form that Flower's ``datetime.isoformat()`` gives.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def date_text(date_us: int) -> str:
    """``2026-11-22T10:00:00.123456+00:00`` for microseconds since the epoch (no fraction if it is 0)."""
    return (_EPOCH + timedelta(microseconds=date_us)).isoformat()


def date_us(text: str) -> int:
    """The inverse of ``date_text``; ValueError if ``text`` is no date with an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = "a date without an offset"
        raise ValueError(msg)
    return (moment - _EPOCH) // _MICROSECOND


def to_wire(event: dict[str, Any]) -> dict[str, Any]:
    """A record's event as Flower's JSON has it; the order of all names is kept."""
    context = event["context"]
    return {**event, "context": {**context, "date": date_text(context["date"])}}
