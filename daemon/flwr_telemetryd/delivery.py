"""An answer becomes a decision, and a failure a wait. Pure.

Only a word about the body itself may cost the body: 400, 413, 415 and 422 are refusals, 2xx is success,
and everything else, redirects and portals included, is tried again. The wait after a failure is drawn
evenly from 0 to a bound that doubles (full jitter), so that a fleet does not come back as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from .sinks.base import Delivered, Outcome, Refused, Retry

REFUSALS = frozenset({400, 413, 415, 422})
MAX_RETRY_AFTER_S = 86_400.0
MAX_REASON_CHARACTERS = 500

_MOST_DOUBLINGS = 60


def outcome_of(status: int, headers: Mapping[str, str], text: str, now: datetime) -> Outcome:
    """What an HTTP answer means.

    Args:
        status: its status code.
        headers: its headers, found whatever their case.
        text: the beginning of its body, for the reason of a refusal.
        now: for a ``Retry-After`` that is a date; in UTC.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered()
    word = f"the collector answered {status}"
    if status in REFUSALS:
        printable = "".join(character if character.isprintable() else " " for character in text)
        return Refused(f"{word}: {printable[:MAX_REASON_CHARACTERS]}".rstrip(": "))
    return Retry(word, retry_after_s(headers.get("Retry-After"), now))


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds, in both its forms, at most a day; None if it is absent or says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def backoff_s(failures: int, first_s: float, most_s: float, random: float) -> float:
    """How long to wait after ``failures`` in a row.

    Args:
        failures: 1 after the first one.
        first_s: the bound after the first one; it doubles with each.
        most_s: the bound never exceeds this.
        random: from 0 to 1.
    """
    return random * min(most_s, first_s * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


def drawn_s(from_s: float, most_s: float, random: float) -> float:
    """A random part of a time, by which the homes of a fleet are drawn apart.

    Of what a body had waited, for a rest after the first success that follows a failure: the first body of
    each home is drawn apart by the backoff, and what the home has beside it must not come with it. Of a
    ``Retry-After``, to be added to it: a collector may name one moment to a whole fleet.

    Args:
        from_s: that time; a clock set back makes it negative.
        most_s: never more than this.
        random: from 0 to 1.
    """
    return random * min(most_s, max(from_s, 0.0))
