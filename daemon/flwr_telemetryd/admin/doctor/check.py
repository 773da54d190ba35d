"""One check of the doctor, and its verdict."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How bad the result of a check is."""

    OK = "ok"
    NOTE = "note"
    """Telemetry works, but a person should know it."""
    FAULT = "fault"
    """It keeps events from being recorded or delivered."""
    SKIPPED = "skipped"
    """It was not checked."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check."""

    name: str
    """The thing that was checked, in one or two words."""

    verdict: Verdict

    found: str
    """The result, in one sentence."""

    advice: str = ""
    """The remedy; empty if none is needed."""


def ok(name: str, found: str) -> Check:
    """A check without a problem."""
    return Check(name, Verdict.OK, found)


def note(name: str, found: str, advice: str = "") -> Check:
    """A check that a person should know of."""
    return Check(name, Verdict.NOTE, found, advice)


def fault(name: str, found: str, advice: str) -> Check:
    """A check that found a fault."""
    return Check(name, Verdict.FAULT, found, advice)


def fault_of(name: str, problem: str) -> Check:
    """A problem as a check; its advice comes after its last semicolon."""
    found, _, advice = problem.rpartition("; ")
    return fault(name, found or problem, advice if found else "")


def skipped(name: str, found: str) -> Check:
    """A check that was not done."""
    return Check(name, Verdict.SKIPPED, found)
