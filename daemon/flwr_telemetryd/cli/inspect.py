"""``flwr-telemetry inspect``: the events themselves, as Flower's JSON, at every stage of their way."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import enum
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..errors import UnusableHomeError
from .output import HomeOption, JsonOption, complain, help_text, print_raw, the_home
from .rows import Rows

if TYPE_CHECKING:
    from ..looking import Shown
    from ..wanted import Chooser, Wanted

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
    from .. import health
    from ..looking import Looker
    from ..wanted import Chooser

    found = the_home(home, os.environ)
    looker = Looker(found, None if stage is StageChoice.all else stage.value)
    which = "" if event is None and since is None else " that fit"
    place = "" if stage is StageChoice.all else f", stage {stage.value}"
    nothing = f"No events{which} in {found.path}{place}."
    chooser = Chooser(_wanted(event, since), expand=expand)
    printer: _Lines | Rows = _Lines(chooser) if json else Rows(nothing, chooser)
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


def _wanted(event: str | None, since: str | None) -> "Wanted":
    from ..wanted import Wanted
    from ..wanted import since as moment_of

    if since is None:
        return Wanted(event)
    try:
        moment = moment_of(since, datetime.now().astimezone())
        return Wanted(event, int(moment.timestamp() * 1_000_000))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--since'") from error


class _Lines:
    """One JSON value a line."""

    def __init__(self, chooser: "Chooser") -> None:
        self._chooser = chooser

    def show(self, shown: "Shown") -> None:
        from .. import burst

        if self._chooser.expand:
            for event in self._chooser.parts(shown.raw):
                print_raw(burst.dumps(event).encode())
        elif self._chooser.takes(shown.raw):
            print_raw(shown.raw)

    def flush(self) -> None:
        import sys

        sys.stdout.flush()

    def end(self, *, followed: bool) -> None:
        pass
