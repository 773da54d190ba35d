"""``flwr-telemetry inspect``: the events themselves, as Flower's JSON, at every stage of their way."""

from __future__ import annotations

import enum
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..errors import UnusableHomeError
from .output import HomeOption, JsonOption, complain, help_text, print_raw, the_home

if TYPE_CHECKING:
    from ..inspect.filters import EventFilter, Selector
    from ..inspect.follow import Item

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .output import ago, console, number, plain, say

if TYPE_CHECKING:
    from rich.console import Console

    from ..inspect.filters import Selector
    from ..inspect.follow import Item


POLL_S = 0.25


HELP = help_text("""Show the events that wait, and those that were sent or refused.

Without --stage, events are shown at every stage. In the outbox and later they are shown as the
request bodies that they are or were sent in; one body may stand for a burst of many events.

With --json each line is one JSON value: an event of the spool, or a body, byte for byte as it is
sent. With --follow an event that moves on is shown again at its next stage.

With --event or --since a body is shown if any event in it fits; with --expand, those events alone.

\b
Examples:
  flwr-telemetry inspect
  flwr-telemetry inspect --stage sent --expand
  flwr-telemetry inspect --stage outbox --json | jq .context
  flwr-telemetry inspect --event '*_LEAVE' --since 2h
  flwr-telemetry inspect --follow
  flwr-telemetry inspect --home /tmp/copied/.flwr     a spool from another machine
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
    event: Annotated[
        Optional[str],  # noqa: UP045 - typer 0.9 does not know the newer form
        typer.Option("--event", metavar="TYPE", help="Only of this type; * and ? match.", show_default=False),
    ] = None,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Only from then on: 90s, 10min, 2h or 3d ago, or a date or time in ISO 8601.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is new, until Ctrl-C.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the events, once or for as long as somebody looks."""
    from ..inspect.filters import Selector
    from ..inspect.follow import Follower
    from ..inspect.problems import can_be_read, unsafe

    found = the_home(home, os.environ)
    looker = Follower(found, None if stage is StageChoice.all else stage.value)
    which = "" if event is None and since is None else " that fit"
    place = "" if stage is StageChoice.all else f", stage {stage.value}"
    nothing = f"No events{which} in {found.path}{place}."
    chooser = Selector(_wanted(event, since), expand=expand)
    printer: _Lines | Rows = _Lines(chooser) if json else Rows(nothing, chooser)
    try:
        while True:
            if not can_be_read(found) and (problems := list(unsafe(found))):
                raise UnusableHomeError(problems[0])
            for shown in looker.new_items():
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


def _wanted(event: str | None, since: str | None) -> EventFilter:
    from ..inspect.filters import EventFilter
    from ..inspect.filters import since as moment_of

    if since is None:
        return EventFilter(event)
    try:
        moment = moment_of(since, datetime.now().astimezone())
        return EventFilter(event, int(moment.timestamp() * 1_000_000))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--since'") from error


class _Lines:
    """One JSON value a line."""

    def __init__(self, chooser: Selector) -> None:
        self._chooser = chooser

    def show(self, shown: Item) -> None:
        from ..burst import codec

        if self._chooser.expand:
            for event in self._chooser.parts(shown.raw):
                print_raw(codec.dumps(event).encode())
        elif self._chooser.takes(shown.raw):
            print_raw(shown.raw)

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
    def of(cls, out: Console) -> _Widths:
        if not out.is_terminal:
            return cls(_MOST_TYPE, 10_000)
        rest = out.width - _FIXED_WIDTH
        event_type = max(min(_MOST_TYPE, rest), _LEAST_TYPE)
        details = rest - event_type - 2
        return cls(event_type, details if details >= _LEAST_DETAILS else 0)


class Rows:
    """A table for people, row by row, so that it does not matter how many there are."""

    def __init__(self, nothing: str, chooser: Selector) -> None:
        self._nothing = nothing
        self._chooser = chooser
        self._out = console()
        self._widths = _Widths.of(self._out)
        self._rows = self._events = 0

    def show(self, shown: Item) -> None:
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
