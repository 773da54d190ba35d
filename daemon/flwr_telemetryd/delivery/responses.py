"""The meaning of an HTTP answer. Pure.

Only an answer about the body itself refuses the body: 400, 413, 415 and 422. 2xx is success. The uploader
tries again after every other answer, including redirects and captive portals.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from .outcome import Delivered, Outcome, Refused, Retry

REFUSALS = frozenset({400, 413, 415, 422})
MAX_RETRY_AFTER_S = 86_400.0
MAX_REASON_CHARACTERS = 500


def outcome_of(status: int, headers: Mapping[str, str], text: str, now: datetime) -> Outcome:
    """The outcome that an HTTP answer stands for.

    Args:
        status: the status code.
        headers: the headers; the mapping ignores case.
        text: the beginning of the answer's body, for the reason of a refusal.
        now: in UTC, for a ``Retry-After`` that is a date.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Delivered(status)
    answer = f"the collector answered {status}"
    if status in REFUSALS:
        return Refused(with_text(answer, text))
    return Retry(answer, retry_after_s(headers.get("Retry-After"), now))


def with_text(answer: str, text: str) -> str:
    """An answer with the beginning of its text; printable."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return f"{answer}: {printable[:MAX_REASON_CHARACTERS]}".rstrip(": ")


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """``Retry-After`` in seconds, at most a day, from either of its forms; None if absent or invalid."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
