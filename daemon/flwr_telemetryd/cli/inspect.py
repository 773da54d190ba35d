"""``flwr-telemetry inspect``: the events and bodies at every stage, as Flower's JSON or as a table."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import enum
import functools
import json as json_format
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import BadParameter, Option

from ..errors import UnusableHomeError
from . import output
from .output import HomeOption, JsonOption, OptionalText

if TYPE_CHECKING:
    from ..inspect.filters import EventFilter
    from ..inspect.follow import Item

POLL_S = 0.25

_FIXED_WIDTH = 30  # stage, when, count and the gaps
_MOST_TYPE = 32
_LEAST_TYPE = 12
_LEAST_DETAILS = 10


StageChoice = enum.StrEnum("StageChoice", "spool outbox sent rejected all")
"""The values of ``--stage``."""


def inspect(
    *,
    stage: Annotated[StageChoice, Option(help="The stage to show.")] = StageChoice.all,
    expand: Annotated[bool, Option("--expand", help="Turn bursts into their events.")] = False,
    event: Annotated[OptionalText, Option(metavar="TYPE", help="Only this type; * and ? match.")] = None,
    since: Annotated[
        OptionalText,
        Option(metavar="WHEN", help="From then on: 90s, 10min, 2h or 3d ago, or an ISO 8601 date or time."),
    ] = None,
    follow: Annotated[bool, Option("--follow", help="Go on with new events, until Ctrl-C.")] = False,
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
    from ..inspect.follow import Follower
    from ..inspect.problems import can_be_read, unsafe

    found = output.find_home(home)
    follower = Follower(found, None if stage is StageChoice.all else stage.value)
    event_filter = _event_filter(event, since, expand=expand)
    table = _Table(event_filter)
    show = functools.partial(_print_json, event_filter) if json else table.show
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
    output.complain(*follower.problems)
    if not json and not follow:
        fitting = "" if event is None and since is None else " that fit"
        place = "" if stage is StageChoice.all else f", stage {stage.value}"
        table.show_total(f"No events{fitting} in {found.path}{place}.")


def _event_filter(event: str | None, since: str | None, *, expand: bool) -> "EventFilter":
    from ..inspect import filters

    since_us = None
    try:
        if since is not None:
            moment = filters.since(since, datetime.now().astimezone())
            since_us = int(moment.timestamp() * 1_000_000)
    except ValueError as error:
        raise BadParameter(str(error), param_hint="'--since'") from error
    return filters.EventFilter(event, since_us, expand)


def _print_json(event_filter: "EventFilter", item: "Item") -> None:
    from ..burst import codec

    if event_filter.expand:
        for event in event_filter.parts(item.raw):
            output.print_raw(codec.dumps(event).encode())
    elif event_filter.takes_raw(item.raw):
        output.print_raw(item.raw)


class _Table:
    """A table of fixed columns, so that each row is printed at once."""

    def __init__(self, event_filter: "EventFilter") -> None:
        self._filter = event_filter
        self._out = output.console()
        self._rows = self._events = 0
        self._type_width, self._details_width = _MOST_TYPE, 10_000
        if self._out.is_terminal:
            rest = self._out.width - _FIXED_WIDTH
            self._type_width = max(min(_MOST_TYPE, rest), _LEAST_TYPE)
            self._details_width = rest - self._type_width - 2

    def show(self, item: "Item") -> None:
        for event in self._filter.parts(item.raw):
            if self._rows == 0:
                head = self._row("STAGE", "WHEN", "COUNT", "EVENT TYPE", "DETAILS")
                self._out.print(head, style="bold", soft_wrap=True)
            count = 1 if self._filter.expand else item.events
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
        # The end of a type is kept, because it tells ENTER from LEAVE.
        shown = _cut(event_type, self._type_width, self._type_width // 2)
        row = f"{stage:<8}  {when:>10}  {count:>6}  {shown:<{self._type_width}}"
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


def _cut(text: str, width: int, end: int = 0) -> str:
    """The text in at most ``width`` characters, with the last ``end`` ones kept."""
    return text if len(text) <= width else f"{text[: width - end - 1]}…{text[len(text) - end :]}"
