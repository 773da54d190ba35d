"""``flwr-telemetry inspect``: the events themselves, as Flower's JSON, at every stage of their way."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import enum
import json as json_format
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UnusableHomeError
from .output import (
    HomeOption,
    JsonOption,
    ago,
    complain,
    console,
    help_text,
    number,
    plain,
    print_raw,
    say,
    the_home,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..looking import Shown

POLL_S = 0.25

HELP = help_text("""Show the events that wait, and those that were sent or refused.

Without --stage, events are shown at every stage. In the outbox and later they are shown as the
request bodies that they are or were sent in; one body may stand for a burst of many events.

With --json each line is one JSON value: an event of the spool, or a body, byte for byte as it is
sent. With --follow an event that moves on is shown again at its next stage.

\b
Examples:
  flwr-telemetry inspect
  flwr-telemetry inspect --stage sent --expand
  flwr-telemetry inspect --stage outbox --json | jq .context
  flwr-telemetry inspect --follow
""")


class StageChoice(str, enum.Enum):  # noqa: UP042 - typer 0.9 wants the members to be strings
    """What ``--stage`` takes."""

    spool = "spool"
    outbox = "outbox"
    sent = "sent"
    rejected = "rejected"
    all = "all"


def inspect(
    *,
    stage: Annotated[
        StageChoice, typer.Option("--stage", help="What to show; else all.", show_default=False)
    ] = StageChoice.all,
    expand: Annotated[bool, typer.Option("--expand", help="Turn bursts into their events.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is new, until Ctrl-C.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the events, once or for as long as somebody looks."""
    from .. import health
    from ..looking import Looker

    found = the_home(home, os.environ)
    looker = Looker(found, None if stage is StageChoice.all else stage.value)
    nothing = f"No events in {found.path}" + ("." if stage is StageChoice.all else f", stage {stage.value}.")
    printer: _Lines | _Rows = _Lines(expand=expand) if json else _Rows(nothing, expand=expand)
    try:
        while True:
            if not health.can_be_read(found) and (problems := list(health.unsafe(found))):
                raise UnusableHomeError(problems[0])
            for shown in looker.look():
                printer.show(shown)
            printer.flush()
            if not follow:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        if not follow:
            raise
    for problem in looker.problems:
        complain(problem)
    printer.end(followed=follow)


class _Lines:
    """One JSON value a line."""

    def __init__(self, *, expand: bool) -> None:
        self._expand = expand

    def show(self, shown: "Shown") -> None:
        if not self._expand:
            print_raw(shown.raw)
            return
        from .. import burst, stages

        for event in stages.expand(shown.raw):
            print_raw(burst.dumps(event).encode())

    def flush(self) -> None:
        import sys

        sys.stdout.flush()

    def end(self, *, followed: bool) -> None:
        pass


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
    def of(cls, out: "Console") -> "_Widths":
        if not out.is_terminal:
            return cls(_MOST_TYPE, 10_000)
        rest = out.width - _FIXED_WIDTH
        event_type = max(min(_MOST_TYPE, rest), _LEAST_TYPE)
        details = rest - event_type - 2
        return cls(event_type, details if details >= _LEAST_DETAILS else 0)


class _Rows:
    """A table for people, row by row, so that it does not matter how many there are."""

    def __init__(self, nothing: str, *, expand: bool) -> None:
        self._nothing = nothing
        self._expand = expand
        self._out = console()
        self._widths = _Widths.of(self._out)
        self._rows = self._events = 0

    def show(self, shown: "Shown") -> None:
        for event in self._parts(shown.raw):
            if self._rows == 0:
                self._row("STAGE", "WHEN", "COUNT", "EVENT TYPE", "DETAILS", style="bold")
            count = 1 if self._expand else shown.events
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
        self._out.file.flush()

    def end(self, *, followed: bool) -> None:
        if followed:
            return
        if not self._rows:
            say(self._out, self._nothing)
            return
        rows = f", in {number(self._rows, 'row')}" if self._rows != self._events else ""
        say(self._out, f"{number(self._events, 'event')}{rows}", "dim")

    def _parts(self, raw: bytes) -> Iterator[dict[str, Any]]:
        from .. import stages

        if self._expand:
            yield from stages.expand(raw)
        else:
            yield json_format.loads(raw)

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
        f"{json_format.dumps(name)}:{'…' if name in varying else json_format.dumps(value)}"
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
