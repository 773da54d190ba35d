"""``flwr-telemetry inspect``: the events and bodies at every stage, as JSON, CSV or a table for people."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import csv as csv_format
import enum
import functools
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Optional

from typer import Argument, BadParameter, Option

from ..errors import UnusableHomeError
from . import output
from .output import HomeOption, JsonOption, OptionalText
from .rows import CSV_HEAD, Row, Table, csv_cells, say_total, show_body

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..inspect.filters import EventFilter
    from ..inspect.follow import Follower, Item

POLL_S = 0.25

StageChoice = enum.StrEnum("StageChoice", "spool outbox sent rejected all")
"""The values of ``--stage``."""
AsChoice = enum.StrEnum("AsChoice", "flower otlp")
"""The values of ``--as``, of this command and of ``fields``."""


def inspect(  # noqa: PLR0913 - each is an option for people
    number: Annotated[
        Optional[int],  # noqa: UP045 - typer 0.9 does not know the newer form
        Argument(min=1, metavar="[N]", help="Show row N of the table alone, with its whole body."),
    ] = None,
    *,
    stage: Annotated[StageChoice, Option(help="The stage to show.")] = StageChoice.all,
    expand: Annotated[bool, Option("--expand", help="Turn bursts into their events.")] = False,
    event: Annotated[OptionalText, Option(metavar="TYPE", help="Only this type; * and ? match.")] = None,
    since: Annotated[
        OptionalText,
        Option(metavar="WHEN", help="From then on: 90s, 10min, 2h or 3d ago, or an ISO 8601 date or time."),
    ] = None,
    follow: Annotated[bool, Option("--follow", help="Go on with new events, until Ctrl-C.")] = False,
    body: Annotated[bool, Option("--body", help="Show each body whole, in many lines.")] = False,
    csv: Annotated[bool, Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    json: JsonOption = False,
    with_meta: Annotated[
        bool, Option("--with-meta", help="With --json: also stage, host, key, time, address and reason.")
    ] = False,
    as_format: Annotated[
        AsChoice, Option("--as", help="otlp: print each request in OTLP, byte for byte.")
    ] = AsChoice.flower,
    home: HomeOption = None,
) -> None:
    r"""Show the events that wait, and those that were sent or refused.

    Without --stage, events are shown at every stage, the oldest first. In the outbox and later they are
    shown as the request bodies that are sent; one body may stand for a burst of many events.

    With --json each line is one JSON value: an event of the spool, or a body, byte for byte as it is
    sent. (With format = "otlp" it is kept so, and sent as --as otlp shows.) With --with-meta, each line
    tells where it is, and when and to which address it was sent.
    With --follow an event that moves on is shown again at its next stage.

    With --as otlp each line is a request as an OTLP collector gets it, before it is compressed. An
    event of the spool is in no request yet. A collector that refuses a request may get it in halves.

    With --event or --since a body is shown if any event in it fits; with --expand, only those events.

    \b
    Examples:
      flwr-telemetry inspect
      flwr-telemetry inspect 1                            the first row, with its whole body
      flwr-telemetry inspect --stage sent --expand
      flwr-telemetry inspect --json --with-meta | jq 'select(.stage == "sent") | .at, .to'
      flwr-telemetry inspect --event '*_LEAVE' --since 2h
      flwr-telemetry inspect --csv > events.csv
      flwr-telemetry inspect --follow
      flwr-telemetry inspect --as otlp --stage outbox
      flwr-telemetry inspect --home /tmp/copied/.flwr     a spool from another machine
    """
    from ..inspect.filters import EventFilter
    from ..inspect.follow import Follower

    is_one = number is not None
    if json + csv + (body or is_one) > 1 or (follow and (csv or is_one)):
        raise BadParameter("choose one of N, --body, --json, --csv; --follow goes with --body or --json")
    is_otlp = as_format is AsChoice.otlp
    if is_otlp and (csv or body or is_one or json or expand):
        raise BadParameter("it goes with --stage, --event, --since and --follow", param_hint="'--as'")
    if with_meta and not json:
        raise BadParameter("it needs --json", param_hint="'--with-meta'")
    found = output.find_home(home)
    follower = Follower(found, None if stage is StageChoice.all else stage.value)
    event_filter = EventFilter(event, None if since is None else since_us(since), expand)
    rows: list[Row] = []
    show = show_body if body else Table().show
    if is_otlp:
        give = functools.partial(_print_otlp, event_filter)
    elif json:
        give = functools.partial(_print_json, event_filter, with_meta=with_meta)
    else:
        give = functools.partial(_give, event_filter, show if follow else rows.append)
    _read(found, follower, give, follow=follow)
    output.complain(*follower.problems)
    if json or follow or is_otlp:
        return
    rows.sort(key=lambda row: row.when)
    if csv:
        _print_csv(rows)
    elif number is not None:
        if number > len(rows):
            raise BadParameter(f"the table has {output.number(len(rows), 'row')}", param_hint="N")
        show_body(rows[number - 1])
    else:
        for row in rows:
            show(row)
        fitting = "" if event is None and since is None else " that fit"
        place = "" if stage is StageChoice.all else f", stage {stage.value}"
        say_total(rows, f"No events{fitting} in {found.path}{place}.")


def _read(home: "Home", follower: "Follower", give: "Callable[[Item], None]", *, follow: bool) -> None:
    """Hand on each item that is there, and with ``follow`` each new one, until Ctrl-C."""
    from ..inspect.problems import can_be_read, unsafe

    try:
        while True:
            if not can_be_read(home) and (problems := list(unsafe(home))):
                raise UnusableHomeError(problems[0])
            for item in follower.new_items():
                give(item)
            sys.stdout.flush()
            if not follow:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        if not follow:
            raise


def since_us(since: str) -> int:
    """The time that ``--since`` names, in microseconds since the epoch; BadParameter if it names none."""
    from ..inspect import filters

    try:
        return int(filters.since(since, datetime.now().astimezone()).timestamp() * 1_000_000)
    except ValueError as error:
        raise BadParameter(str(error), param_hint="'--since'") from error


def _give(event_filter: "EventFilter", take: Callable[[Row], None], item: "Item") -> None:
    """Hand on a row for each part of an event or body that is to be shown."""
    for event in event_filter.parts(item.raw):
        take(Row(item, event, 1 if event_filter.expand else item.events))


def _print_json(event_filter: "EventFilter", item: "Item", *, with_meta: bool) -> None:
    from ..burst import codec

    def show(raw: bytes, events: int) -> None:
        # The body stands in the line byte for byte, as without the rest.
        head = codec.dumps({**item.meta(), "events": events}).encode()
        output.print_raw(head[:-1] + b',"body":' + raw + b"}" if with_meta else raw)

    if event_filter.expand:
        for event in event_filter.parts(item.raw):
            show(codec.dumps(event).encode(), 1)
    elif event_filter.takes_raw(item.raw):
        show(item.raw, item.events)


def _print_otlp(event_filter: "EventFilter", item: "Item") -> None:
    """Print each request that delivers a body."""
    from ..burst.codec import NotABodyError
    from ..delivery import otlp
    from ..outbox.pieces import place_of

    if item.key is None or not event_filter.takes_raw(item.raw):
        return
    try:
        requests = otlp.render(item.raw, *place_of(item.key))
    except NotABodyError:
        output.complain(f"body {item.key} cannot be sent as OTLP; it is not shown")
        return
    for request in requests:
        output.print_raw(request)


def _print_csv(rows: list[Row]) -> None:
    out = csv_format.writer(sys.stdout, lineterminator="\n")
    out.writerow(CSV_HEAD)
    out.writerows(map(csv_cells, rows))
