"""``flwr-telemetry flush``: deliver now everything that waits on this host."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from typer import Option

from ..errors import ExitCode
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.flush import FlushResult


def flush(
    *,
    timeout: Annotated[float, Option(min=0, metavar="S", help="How long to wait, in seconds.")] = 30.0,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Deliver everything that waits on this host now, and wait for it.

    A running sidecar is asked to deliver. If none runs, one is started and ends after its work. A body
    that the collector refuses counts as done, and is kept: see `inspect --stage rejected`. Events that
    cannot be delivered are kept too, and are sent later.

    \b
    Exit codes:
      0  everything that waited is delivered or refused
      1  something is left
      3  telemetry is off
      5  the home cannot be used

    \b
    Examples:
      flwr-telemetry flush
      flwr-telemetry flush --timeout 120
    """
    from ..admin.flush import Outcome
    from ..admin.flush import flush as deliver

    found = output.home_to_deliver(home, timeout)
    try:
        with output.progress() as bars:
            on_progress = output.backlog_bar(bars, "Delivering")
            result = deliver(found, os.environ, timeout_s=timeout, on_progress=on_progress)
    except KeyboardInterrupt:
        output.complain("interrupted; events that are not delivered are kept")
        return ExitCode.UNDELIVERED
    public = {**asdict(result), "reason": result.reason or None}
    if not result.kept:
        del public["kept"]
    output.answer(public, lambda: _tell(result, found), as_json=json)
    codes = {Outcome.DELIVERED: ExitCode.OK, Outcome.UNDELIVERED: ExitCode.UNDELIVERED}
    return codes.get(result.outcome, ExitCode.DISABLED)


def _tell(result: "FlushResult", home: "Home") -> None:
    from ..admin.flush import Outcome

    if result.outcome is Outcome.DISABLED:
        from flwr_telemetry import settings

        from ..inspect import problems

        consent = settings.load(home, os.environ).consent
        change = "" if consent.enabled else problems.how_to_change(consent)
        reason = output.ended(result.reason)
        output.complain(f"nothing is delivered, because telemetry is off: {reason} {change}".rstrip())
    elif result.outcome is Outcome.KEPT:
        output.complain(f"nothing is delivered, because nothing may be sent: {output.ended(result.reason)}")
    elif result.outcome is Outcome.UNDELIVERED:
        left = output.number(result.left.events, "event")
        output.complain(
            f"{left} could not be delivered: {output.ended(result.reason)} They are kept and sent later; "
            "try again with a longer --timeout, or see `flwr-telemetry status`."
        )
    elif not result.waited.events:
        output.say(f"Nothing waits in {home.path}.")
    else:
        if (done := result.waited.events - result.rejected - result.kept) > 0:
            output.say(f"Delivered {output.number(done, 'event')}.")
        if result.kept:
            kept = output.number(result.kept, "event")
            output.say(f"Kept {kept} on this machine, never to be sent (upload = false).")
        say_refused(result.rejected)


def say_refused(events: int) -> None:
    """Say how many events the collector refused, if any."""
    if events:
        refused = output.number(events, "event")
        output.say(f"The collector refused {refused}; see `flwr-telemetry inspect --stage rejected`.")
