"""Which events somebody wants to see: by type and by time. Pure."""

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

_UNITS = {
    "s": "seconds",
    "sec": "seconds",
    "m": "minutes",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "w": "weeks",
}
_SPAN = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})")


def since(text: str, now: datetime) -> datetime:
    """A moment that a person names: ``90s``, ``10min``, ``2h``, ``3d`` ago, or an ISO 8601 date or time.

    Args:
        text: as it was typed.
        now: with an offset, which a time without one is taken to have.

    Raises:
        ValueError: it is neither, or lies beyond the calendar.
    """
    typed = text.strip()
    try:
        if (found := _SPAN.fullmatch(typed.lower())) is not None:
            return now - timedelta(**{_UNITS[found[2]]: float(found[1])})
        moment = datetime.fromisoformat(typed)
    except (ValueError, OverflowError) as error:
        msg = f"{typed!r} names no moment: write 90s, 10min, 2h, 3d, 2026-11-25 or 2026-11-25T10:00"
        raise ValueError(msg) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A choice among events.

    Attributes:
        event_type: in any case, with ``*`` and ``?``; None for every type.
        since_us: microseconds since the epoch; None for every time.
    """

    event_type: str | None = None
    since_us: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.event_type is None and self.since_us is None

    def takes(self, body: Mapping[str, Any]) -> bool:
        """Whether an event, or any event of a burst, is wanted; what cannot be told is not."""
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
        rows = body["burst"]["events"] if "burst" in body else [[0, 0]]
        # Rows are in order of time.
        return bool(date_us(body["context"]["date"]) + rows[-1][1] >= self.since_us)


class Selector:
    """What is shown of an event or a body: all of it, nothing, or those of its events that are wanted."""

    def __init__(self, wanted: EventFilter, *, expand: bool) -> None:
        self.expand = expand
        self._wanted = wanted

    def parts(self, raw: bytes) -> Iterator[dict[str, Any]]:
        """What is wanted of it, decoded."""
        whole = contents.expand(raw) if self.expand else [json.loads(raw)]
        yield from filter(self._wanted.takes, whole)

    def takes(self, raw: bytes) -> bool:
        """Whether it is wanted as it is."""
        return self._wanted.everything or any(self.parts(raw))
