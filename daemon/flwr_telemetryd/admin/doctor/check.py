"""What a check says."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How much it matters."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the thing, in a word or two.
        verdict: ``fault`` if it keeps events from being recorded or delivered.
        found: one sentence.
        advice: what to do; empty if nothing is to be done.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


OFF = "not checked, since telemetry is off"
NOT_WRITTEN = "not checked: with telemetry off, or a fault in the home, nothing is written there"
