"""Sentences and dates as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def ended(sentence: str) -> str:
    """``sentence`` with a full stop, unless it ends with a mark."""
    return sentence if sentence.endswith((".", "…", "?")) else f"{sentence}."


def sentence(words: str) -> str:
    """``words`` with a capital letter and a full stop; empty if they are."""
    return f"{words[0].upper()}{ended(words)[1:]}" if words else ""


def local(moment: str) -> str:
    """An ISO 8601 time in the zone of this machine, ``2026-11-25 10:00:00``; any other text unchanged."""
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return moment


def date_of(body: Mapping[str, Any]) -> str:
    """The date of the first event of a body; empty without one.

    All dates have one form and UTC, so their texts sort by time.
    """
    context = body.get("context")
    found = context.get("date") if isinstance(context, dict) else None
    return found if isinstance(found, str) else ""
