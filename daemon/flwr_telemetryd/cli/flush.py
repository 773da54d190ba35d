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
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would go where.")] = False,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print nothing but errors.")] = False,
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
      flwr-telemetry flush --dry-run
    """
    from ..admin.flush import Outcome
    from ..admin.flush import flush as deliver

    found = output.home_to_deliver(home, timeout)
    if dry_run:
        return _dry_run(found, as_json=json)
    try:
        with output.progress() as bars:
            on_progress = output.backlog_bar(bars, "Delivering")
            result = deliver(found, os.environ, timeout_s=timeout, on_progress=on_progress)
    except KeyboardInterrupt:
        output.complain("interrupted; events that are not delivered are kept")
        return ExitCode.UNDELIVERED
    counts = {name: getattr(result, name)._asdict() for name in ("waited", "left")}
    public = {**asdict(result), **counts, "reason": result.reason or None}
    if not result.kept:
        del public["kept"]
    if json or not quiet or result.outcome is not Outcome.DELIVERED:
        output.answer(public, lambda: _tell(result, found), as_json=json)
    codes = {Outcome.DELIVERED: ExitCode.OK, Outcome.UNDELIVERED: ExitCode.UNDELIVERED}
    return codes.get(result.outcome, ExitCode.DISABLED)


def _tell(result: "FlushResult", home: "Home") -> None:
    from flwr_telemetry import settings

    from ..admin.flush import TOO_SHORT, Outcome
    from ..delivery import is_file
    from ..inspect import problems
    from ..inspect.status import last_refusal

    if result.outcome is Outcome.DISABLED:
        consent = settings.load(home, os.environ).consent
        change = "" if consent.enabled else problems.how_to_change(consent)
        reason = output.ended(result.reason)
        output.complain(f"nothing is delivered, because telemetry is off: {reason} {change}".rstrip())
    elif result.outcome is Outcome.KEPT:
        output.complain(f"nothing is delivered, because nothing may be sent: {output.ended(result.reason)}")
    elif result.outcome is Outcome.UNDELIVERED:
        left = output.number(result.left.events, "event")
        reason, advice = output.ended(result.reason), "`flwr-telemetry doctor` looks for the cause"
        if result.reason == TOO_SHORT or "for another" in result.reason:
            advice = "try again with a longer --timeout"
        output.complain(f"{left} could not be delivered: {reason} They are kept and sent later; {advice}.")
    elif not result.waited.events:
        output.say(f"Nothing waits in {home.path}.")
    else:
        if (done := result.waited.events - result.rejected - result.kept) > 0:
            events, url = output.number(done, "event"), settings.load(home, None).url
            output.say(f"Wrote {events} to {url}." if is_file(url) else f"Delivered {events}.")
        if result.kept:
            kept = output.number(result.kept, "event")
            output.say(f"Kept {kept} on this machine, never to be sent (upload = false).")
        if result.rejected and (refusal := last_refusal(home.host())):
            output.say(f"Refused: {output.ended(refusal)}")
        say_refused(result.rejected)


def _dry_run(home: "Home", *, as_json: bool) -> int:
    """Say what a flush would deliver, and where to."""
    from flwr_telemetry import settings

    from ..inspect.status import manner_of
    from ..outbox.backlog import Counter

    now = settings.load(home, os.environ)
    waits = Counter([home.host()]).left()
    to = None if not now.consent.enabled else "nowhere" if now.kept_by else now.url
    reason = now.kept_by if now.consent.enabled else now.consent.reason

    def tell() -> None:
        events = output.number(waits.events, "event")
        if to is None:
            output.say(
                f"Nothing would be delivered of {events}, because telemetry is off: {output.ended(reason)}"
            )
        elif to == "nowhere":
            output.say(f"Nothing would be sent of {events}; they would be kept here: {output.ended(reason)}")
        else:
            manner = f" ({how})" if (how := manner_of(now)) else ""
            output.say(f"Would deliver {events} to {to}{manner}.")

    output.answer({**waits._asdict(), "to": to, "reason": reason}, tell, as_json=as_json)
    return ExitCode.OK if to else ExitCode.DISABLED


def say_refused(events: int) -> None:
    """Say how many events the collector refused, if any."""
    if events:
        refused = output.number(events, "event")
        output.say(f"The collector refused {refused}; see `flwr-telemetry inspect --stage rejected`.")
