"""Events and bodies as the rows of a table for people.

This room must never hold more than one of them: a spool may have a hundred thousand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .output import ago, console, number, plain, say

if TYPE_CHECKING:
    from rich.console import Console

    from ..looking import Shown
    from ..wanted import Chooser

_FIXED_WIDTH = 30  # stage, when, count and the gaps
_MOST_TYPE = 32
_LEAST_TYPE = 12
_LEAST_DETAILS = 10


@dataclass(frozen=True, slots=True)
class _Widths:
    """Columns of a row, in characters; no details on a very narrow terminal."""

    event_type: int
    details: int

    @classmethod
    def of(cls, out: Console) -> _Widths:
        if not out.is_terminal:
            return cls(_MOST_TYPE, 10_000)
        rest = out.width - _FIXED_WIDTH
        event_type = max(min(_MOST_TYPE, rest), _LEAST_TYPE)
        details = rest - event_type - 2
        return cls(event_type, details if details >= _LEAST_DETAILS else 0)


class Rows:
    """A table for people, row by row, so that it does not matter how many there are."""

    def __init__(self, nothing: str, chooser: Chooser) -> None:
        self._nothing = nothing
        self._chooser = chooser
        self._out = console()
        self._widths = _Widths.of(self._out)
        self._rows = self._events = 0

    def show(self, shown: Shown) -> None:
        """Show an event or a body, or those of its events that are wanted."""
        for event in self._chooser.parts(shown.raw):
            if self._rows == 0:
                self._row("STAGE", "WHEN", "COUNT", "EVENT TYPE", "DETAILS", style="bold")
            count = 1 if self._chooser.expand else shown.events
            self._rows += 1
            self._events += count
            context = event.get("context")
            date = context.get("date") if isinstance(context, dict) else None
            self._row(
                shown.stage,
                ago(date) if isinstance(date, str) else "?",
                str(count),
                str(event.get("event_type", "?")),
                _details(event),
            )

    def flush(self) -> None:
        """Let a reader see what was shown."""
        self._out.file.flush()

    def end(self, *, followed: bool) -> None:
        """Say how much it was, unless somebody had watched it come."""
        if followed:
            return
        if not self._rows:
            say(self._out, self._nothing)
            return
        rows = f", in {number(self._rows, 'row')}" if self._rows != self._events else ""
        say(self._out, f"{number(self._events, 'event')}{rows}", "dim")

    def _row(self, *cells: str, style: str | None = None) -> None:
        stage, when, count, event_type, details = map(plain, cells)
        widths = self._widths
        line = f"{stage:<8}  {when:>10}  {count:>6}  {_cut_within(event_type, widths.event_type)}"
        if widths.details:
            line += "  " + _cut(details, widths.details)
        if style is not None:
            self._out.print(line.rstrip(), style=style, soft_wrap=True)
        else:
            self._out.file.write(line.rstrip() + "\n")  # a spool may hold a hundred thousand


def _details(event: dict[str, Any]) -> str:
    """The details in JSON, with ``…`` for those that differ within a burst."""
    details, burst = event.get("event_details"), event.get("burst")
    if not isinstance(details, dict):
        return "?"
    varying = burst.get("varying") if isinstance(burst, dict) else None
    varying = varying if isinstance(varying, list) else []
    parts = (
        f"{json.dumps(name)}:{'…' if name in varying else json.dumps(value)}"
        for name, value in details.items()
    )
    return f"{{{', '.join(parts)}}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cut_within(text: str, width: int) -> str:
    """The end of an event's type says as much as its beginning: ENTER or LEAVE."""
    if len(text) <= width:
        return f"{text:<{width}}"
    end = width // 2
    return f"{text[: width - end - 1]}…{text[-end:]}"
