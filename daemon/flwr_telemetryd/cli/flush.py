"""``flwr-telemetry flush``: have everything that waits on this host delivered now."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode
from .output import (
    HomeOption,
    JsonOption,
    complain,
    console,
    ended,
    help_text,
    home_to_deliver,
    number,
    print_json,
    progress,
    say,
    show_left,
)

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.flush import FlushResult

HELP = help_text("""Deliver what waits on this host now, and wait for it.

A sidecar that runs is asked; where none does, one is run to the end of its work. A body that the
collector refuses counts as done: it is kept, see `inspect --stage rejected`. What cannot be
delivered is kept too, and is sent later.

\b
Exit codes:
  0  nothing is left of what waited
  1  something is left
  3  telemetry is off
  5  the home cannot be used

\b
Examples:
  flwr-telemetry flush
  flwr-telemetry flush --timeout 120
""")


def flush(
    *,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="S", help="How long to wait, in seconds.")
    ] = 30.0,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Deliver what waits, and tell what came of it."""
    from ..admin.flush import flush as deliver

    found = home_to_deliver(home, timeout)
    with progress() as bar:
        task = bar.add_task("Delivering", total=None, word="")
        try:
            drained = deliver(
                found, os.environ, timeout_s=timeout, on_progress=lambda left: show_left(bar, task, left)
            )
        except KeyboardInterrupt:
            bar.stop()
            complain("interrupted; what is not delivered is kept")
            raise typer.Exit(ExitCode.UNDELIVERED) from None
    if json:
        print_json(_public(drained))
    else:
        _tell(drained, found)
    raise typer.Exit(_EXIT_CODES[drained.outcome.name])


_EXIT_CODES = {
    "DELIVERED": ExitCode.OK,
    "UNDELIVERED": ExitCode.UNDELIVERED,
    "DISABLED": ExitCode.DISABLED,
}


def _public(drained: "FlushResult") -> dict[str, object]:
    return {
        "outcome": drained.outcome.name.lower(),
        "waited": {"events": drained.before.events, "bodies": drained.before.bodies},
        "left": {"events": drained.left.events, "bodies": drained.left.bodies},
        "rejected": drained.rejected,
        "reason": drained.reason or None,
    }


def _tell(drained: "FlushResult", home: "Home") -> None:
    from ..admin.flush import Outcome

    if drained.outcome is Outcome.DISABLED:
        from flwr_telemetry import settings

        from ..inspect import problems

        consent = settings.load(home, os.environ).consent
        change = "" if consent.enabled else problems.how_to_change(consent)
        complain(f"nothing is delivered, because telemetry is off: {ended(drained.reason)} {change}".rstrip())
    elif drained.outcome is Outcome.UNDELIVERED:
        complain(
            f"{number(drained.left.events, 'event')} could not be delivered: {ended(drained.reason)} "
            "They are kept and sent later; try again with a longer --timeout, or see `flwr-telemetry status`."
        )
    elif not drained.before.events:
        say(console(), f"Nothing waits in {home.path}.")
    else:
        if (done := drained.before.events - drained.rejected) > 0:
            say(console(), f"Delivered {number(done, 'event')}.")
        if drained.rejected:
            refused = number(drained.rejected, "event")
            say(console(), f"The collector refused {refused}; see `flwr-telemetry inspect --stage rejected`.")
