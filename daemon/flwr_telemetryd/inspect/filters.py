"""Choose events by type and by time.

In: events or bodies, as JSON. Out: those that match. This module never opens a file.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flwr_telemetry.record import date_us

from ..outbox import contents

_UNITS_S = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS_S)})")


def since(text: str, now: datetime) -> datetime:
    """The time that a text names: ``90s``, ``10min``, ``2h`` or ``3d`` ago, or an ISO 8601 date or time.

    Args:
        text: the text, as a person typed it.
        now: the present time. A text without an offset from UTC means local time, as clocks showed it then.

    Raises:
        ValueError: the text names no time, or one beyond the calendar.
    """
    typed = text.strip()
    try:
        if (found := _SPAN.fullmatch(typed.lower())) is not None:
            return now - timedelta(seconds=float(found[1]) * _UNITS_S[found[2]])
        moment = datetime.fromisoformat(typed)
    except (ValueError, OverflowError) as error:
        msg = f"{typed!r} names no time: write 90s, 10min, 2h, 3d, 2026-11-25 or 2026-11-25T10:00"
        raise ValueError(msg) from error
    if moment.tzinfo is not None:
        return moment
    try:
        return moment.astimezone()  # summer time has another offset than today
    except (ValueError, OverflowError, OSError):  # Python cannot tell the offset of a far year
        return moment.replace(tzinfo=now.tzinfo)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects the events to show, by type and by time."""

    event_type: str | None = None
    """In any case, with the wildcards ``*`` and ``?``; None for every type."""

    since_us: int | None = None
    """The earliest time, in microseconds since the epoch; None for every time."""

    expand: bool = False
    """Whether to show the events of a burst one by one."""

    def parts(self, raw: bytes) -> Iterator[dict[str, Any]]:
        """The matching parts of an event or a body, decoded."""
        yield from filter(self.takes, contents.expand(raw) if self.expand else [json.loads(raw)])

    def takes_raw(self, raw: bytes) -> bool:
        """Whether to show an event or a body as it is."""
        everything = self.event_type is None and self.since_us is None
        return everything or any(self.parts(raw))

    def takes(self, body: Mapping[str, Any]) -> bool:
        """Whether an event, or any event of a burst, matches; a damaged body does not."""
        try:
            return self._has_type(body) and self._is_late(body)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return False

    def _has_type(self, body: Mapping[str, Any]) -> bool:
        return self.event_type is None or fnmatch.fnmatchcase(
            body["event_type"].upper(), self.event_type.upper().replace("[", "[[]")
        )

    def _is_late(self, body: Mapping[str, Any]) -> bool:
        if self.since_us is None:
            return True
        # The rows of a burst are in order of time.
        last_us = body["burst"]["events"][-1][1] if "burst" in body else 0
        return bool(date_us(body["context"]["date"]) + last_us >= self.since_us)
