"""``flwr-telemetry disable`` and ``enable``: the user's word, for good."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from ..errors import ExitCode, describe
from .output import (
    HomeOption,
    JsonOption,
    complain,
    console,
    ended,
    help_text,
    number,
    print_json,
    say,
    say_consent,
    the_home,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr_telemetry.layout import Home

    from ..admin.switch import DisableResult

DISABLE_HELP = help_text("""Switch telemetry off for good, and delete what was not sent.

It writes `enabled = false` into telemetry/config.toml of the home, which every Flower process of
yours obeys within a second, and a sidecar before its next request. What stays on this machine is
that file, the source ID, and sent/, the record of what was sent before.

\b
Exit codes:
  0  telemetry is off
  5  the setting could not be written, or something could not be deleted

\b
Examples:
  flwr-telemetry disable
  flwr-telemetry disable --home /scratch/alice/.flwr
  FLWR_TELEMETRY_ENABLED=0 python sim.py     off for one command; nothing is written
""")

ENABLE_HELP = help_text("""Switch telemetry on again.

It writes `enabled = true` into telemetry/config.toml of the home. Any other no stays a no: a
variable's, or that of the site's file. A service that `disable` has ended is not started; the
answer names the command that does.

\b
Exit codes:
  0  telemetry is on
  3  telemetry is off all the same; the answer says why
  5  the setting could not be written

\b
Examples:
  flwr-telemetry enable
  flwr-telemetry enable --json
""")


def disable(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Write the no, purge, and tell what became of it."""
    from flwr_telemetry.errors import TelemetryError

    from ..admin import switch
    from ..clock import Clock
    from ..errors import SidecarError

    found = the_home(home, os.environ)
    os.umask(0o077)
    try:
        done = switch.disable(found, Clock())
    except (TelemetryError, SidecarError, OSError) as error:
        why = ended(describe(error, found.path))
        complain(f"{why} FLWR_TELEMETRY_ENABLED=0 switches telemetry off without a file.")
        raise typer.Exit(ExitCode.UNUSABLE) from None
    consent = _consent(found, None)  # by the files alone: a variable may say the same, but not for good
    if json:
        off = {"purged": asdict(done.purged), "sidecar_ended": done.sidecar_ended}
        print_json({**consent, **off})
    else:
        _tell(consent)
        _tell_off(done)
    for problem in done.problems:
        complain(problem)
    if done.problems:
        raise typer.Exit(ExitCode.UNUSABLE)


def enable(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Write the yes, and tell whether it is one."""
    from ..admin import switch

    found = the_home(home, os.environ)
    os.umask(0o077)
    switch.enable(found)
    consent = _consent(found, os.environ)
    start = _start_of_service(found) if consent["enabled"] else None
    if json:
        print_json(consent if start is None else {**consent, "start": start})
    else:
        _tell(consent)
        if start is not None:
            say(console(), f"The service of this home does not run; `{start}` starts it again.")
    if not consent["enabled"]:
        raise typer.Exit(ExitCode.DISABLED)


def _consent(home: "Home", environ: "Mapping[str, str] | None") -> dict[str, Any]:
    """What telemetry is now, as in ``status``."""
    from flwr_telemetry import settings

    from ..inspect import problems

    consent = settings.load(home, environ).consent
    return {
        "enabled": consent.enabled,
        "decided_by": consent.decided_by,
        "reason": consent.reason,
        "change": problems.how_to_change(consent),
    }


def _start_of_service(home: "Home") -> str | None:
    """What starts the service of this home, if it is installed and does not run: a no has ended it."""
    from ..admin.service.status import look
    from ..admin.service.unit import Author, is_same

    view = look(home, os.environ)
    if view.author not in {Author.WE.value, Author.EDITED.value} or not is_same(view.home, home):
        return None
    is_down = view.is_for_here and view.active.startswith(("inactive", "failed"))
    return f"systemctl --user start {os.path.basename(view.unit or '')}" if is_down else None


def _tell(consent: dict[str, Any]) -> None:
    said = {name: value for name, value in consent.items() if name != "decided_by"}
    say_consent(console(), **said)


def _tell_off(done: "DisableResult") -> None:
    out = console()
    waited = done.purged.events
    say(out, f"Deleted what waited: {number(waited, 'event')}." if waited else "Nothing waited.")
    if done.old_settings is not None:
        say(out, f"The settings file could not be understood or edited; it is kept as {done.old_settings}.")
    if not done.sidecar_ended:
        say(out, "A sidecar has not ended yet; it sends nothing after a request that it may have in flight.")
