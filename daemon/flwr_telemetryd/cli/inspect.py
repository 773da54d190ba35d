"""``flwr-telemetry inspect``: the events and bodies at every stage, as Flower's JSON or as a table."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import enum
import functools
import json as json_format
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..errors import UnusableHomeError
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from ..inspect.filters import EventFilter, Selector
    from ..inspect.follow import Item

POLL_S = 0.25

_FIXED_WIDTH = 30  # stage, when, count and the gaps
_MOST_TYPE = 32
_LEAST_TYPE = 12
_LEAST_DETAILS = 10


class StageChoice(str, enum.Enum):  # noqa: UP042 - typer 0.9 wants the members to be strings
    """The values of ``--stage``."""

    spool = "spool"
    outbox = "outbox"
    sent = "sent"
    rejected = "rejected"
    all = "all"


def inspect(
    *,
    stage: Annotated[
        StageChoice, typer.Option("--stage", help="The stage to show; else all.", show_default=False)
    ] = StageChoice.all,
    expand: Annotated[bool, typer.Option("--expand", help="Turn bursts into their events.")] = False,
    event: Annotated[
        Optional[str],  # noqa: UP045 - typer 0.9 does not know the newer form
        typer.Option("--event", metavar="TYPE", help="Only this type; * and ? match.", show_default=False),
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
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new events, until Ctrl-C.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    r"""Show the events that wait, and those that were sent or refused.

    Without --stage, events are shown at every stage. In the outbox and later they are shown as the
    request bodies that are sent; one body may stand for a burst of many events.

    With --json each line is one JSON value: an event of the spool, or a body, byte for byte as it is
    sent. With --follow an event that moves on is shown again at its next stage.

    With --event or --since a body is shown if any event in it fits; with --expand, only those events.

    \b
    Examples:
      flwr-telemetry inspect
      flwr-telemetry inspect --stage sent --expand
      flwr-telemetry inspect --stage outbox --json | jq .context
      flwr-telemetry inspect --event '*_LEAVE' --since 2h
      flwr-telemetry inspect --follow
      flwr-telemetry inspect --home /tmp/copied/.flwr     a spool from another machine
    """
    from ..inspect.filters import Selector
    from ..inspect.follow import Follower
    from ..inspect.problems import can_be_read, unsafe

    found = output.find_home(home)
    follower = Follower(found, None if stage is StageChoice.all else stage.value)
    selector = Selector(_event_filter(event, since), expand=expand)
    table = _Table(selector)
    show = functools.partial(_print_json, selector) if json else table.show
    try:
        while True:
            if not can_be_read(found) and (problems := list(unsafe(found))):
                raise UnusableHomeError(problems[0])
            for item in follower.new_items():
                show(item)
            sys.stdout.flush()
            if not follow:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        if not follow:
            raise
    for problem in follower.problems:
        output.complain(problem)
    if not json and not follow:
        fitting = "" if event is None and since is None else " that fit"
        place = "" if stage is StageChoice.all else f", stage {stage.value}"
        table.show_total(f"No events{fitting} in {found.path}{place}.")


def _event_filter(event: str | None, since: str | None) -> "EventFilter":
    from ..inspect import filters

    if since is None:
        return filters.EventFilter(event)
    try:
        moment = filters.since(since, datetime.now().astimezone())
        return filters.EventFilter(event, int(moment.timestamp() * 1_000_000))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--since'") from error


def _print_json(selector: "Selector", item: "Item") -> None:
    from ..burst import codec

    if selector.expand:
        for event in selector.parts(item.raw):
            output.print_raw(codec.dumps(event).encode())
    elif selector.takes(item.raw):
        output.print_raw(item.raw)


class _Table:
    """A table of fixed columns, so that each row is printed at once."""

    def __init__(self, selector: "Selector") -> None:
        self._selector = selector
        self._out = output.console()
        self._rows = self._events = 0
        self._type_width, self._details_width = _MOST_TYPE, 10_000
        if self._out.is_terminal:
            rest = self._out.width - _FIXED_WIDTH
            self._type_width = max(min(_MOST_TYPE, rest), _LEAST_TYPE)
            self._details_width = rest - self._type_width - 2

    def show(self, item: "Item") -> None:
        for event in self._selector.parts(item.raw):
            if self._rows == 0:
                self._out.print(
                    self._row("STAGE", "WHEN", "COUNT", "EVENT TYPE", "DETAILS"), style="bold", soft_wrap=True
                )
            count = 1 if self._selector.expand else item.events
            self._rows += 1
            self._events += count
            context = event.get("context")
            date = context.get("date") if isinstance(context, dict) else None
            when = output.ago(date) if isinstance(date, str) else "?"
            event_type = str(event.get("event_type", "?"))
            row = self._row(item.stage, when, str(count), event_type, _details(event))
            self._out.file.write(row + "\n")  # much faster than `print`: a spool may hold 100,000 events

    def show_total(self, nothing: str) -> None:
        if not self._rows:
            output.say(nothing)
            return
        rows = f", in {output.number(self._rows, 'row')}" if self._rows != self._events else ""
        output.say(f"{output.number(self._events, 'event')}{rows}", "dim")

    def _row(self, *cells: str) -> str:
        stage, when, count, event_type, details = map(output.plain, cells)
        row = f"{stage:<8}  {when:>10}  {count:>6}  {_cut_within(event_type, self._type_width)}"
        if self._details_width >= _LEAST_DETAILS:
            row += "  " + _cut(details, self._details_width)
        return row.rstrip()


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
    """Cut the middle, because the end of a type tells ENTER from LEAVE."""
    if len(text) <= width:
        return f"{text:<{width}}"
    end = width // 2
    return f"{text[: width - end - 1]}…{text[-end:]}"
