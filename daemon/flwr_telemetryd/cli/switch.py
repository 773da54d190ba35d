"""``flwr-telemetry disable`` and ``enable``: the user's lasting opt-out and opt-in."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from typing import TYPE_CHECKING, Any

from flwr_telemetry import system
from flwr_telemetry.switch import SWITCH

from ..errors import ExitCode, describe
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..admin.switch import DisableResult

_NOT_WRITTEN = (
    "So the opt-out could not be written. "
    f"{SWITCH}=0 switches telemetry off without a file: {system.setting_of(SWITCH, '0')}."
)


def disable(*, json: JsonOption = False, home: HomeOption = None) -> int:
    r"""Switch telemetry off for good, and delete what was not sent.

    This writes `enabled = false` into telemetry/config.toml of the home. Every Flower process that reports
    through this package obeys it within a second, and a sidecar before its next request. That file, the
    source ID and sent/, the record of what was sent before, stay on this machine.

    A plain Flower, started without `flwr-telemetry run`, reports by itself and does not read that file.
    The answer says if the Flower of this environment is one, and names the line that stops it.

    \b
    Exit codes:
      0  telemetry is off
      5  the setting could not be written, or something could not be deleted

    \b
    Examples:
      flwr-telemetry disable
      flwr-telemetry disable --home /scratch/alice/.flwr
      FLWR_TELEMETRY_ENABLED=0 python sim.py     off for one command; no file is written
      export FLWR_TELEMETRY_ENABLED=0            off for every Flower that this shell starts
      setx FLWR_TELEMETRY_ENABLED 0              the same on Windows, for each window opened later
    """
    from flwr_telemetry import settings
    from flwr_telemetry.errors import TelemetryError

    from ..admin import switch
    from ..clock import Clock
    from ..errors import SidecarError
    from ..inspect import flower, problems

    named = output.name_home(home)
    try:
        found = output.find_home(home)
        result = switch.disable(found, Clock())
    except (TelemetryError, SidecarError, OSError) as error:
        output.complain(f"{output.ended(describe(error, named.path))} {_NOT_WRITTEN}")
        return ExitCode.UNUSABLE
    # By the files alone, because a variable does not last.
    consent = problems.public_consent(settings.load(found, None).consent)
    public = {**consent, "purged": result.purged._asdict(), "sidecar_ended": result.sidecar_ended}
    output.answer(public, lambda: _tell_off(consent, result), as_json=json)
    view = flower.read_flower(os.environ, enabled=consent["enabled"])
    if not json:
        output.say_flower(view)
    elif view.reports:
        output.complain(f"{output.ended(view.found)} {output.ended(view.advice)}")
    output.complain(*result.problems)
    if result.refusal:
        reason = output.ended(result.refusal)
        output.complain(f"{reason} {_NOT_WRITTEN}")
    return ExitCode.UNUSABLE if result.problems or result.refusal else ExitCode.OK


def enable(*, json: JsonOption = False, home: HomeOption = None) -> int:
    r"""Switch telemetry on again.

    This writes `enabled = true` into telemetry/config.toml of the home. Telemetry stays off if a variable
    or the site's file switches it off. A service that `disable` has ended is not started; the answer
    names the command that starts it.

    \b
    Exit codes:
      0  telemetry is on
      3  telemetry is still off; the answer says why
      5  the setting could not be written

    \b
    Examples:
      flwr-telemetry enable
      flwr-telemetry enable --json
    """
    from flwr_telemetry import settings

    from ..admin import switch
    from ..inspect import problems

    found = output.find_home(home)
    switch.enable(found)
    consent = problems.public_consent(settings.load(found, os.environ).consent)
    start = _start_of_service(found) if consent["enabled"] else None
    public = {**consent, "start": start} if start else consent
    output.answer(public, lambda: _tell(consent, start), as_json=json)
    return ExitCode.OK if consent["enabled"] else ExitCode.DISABLED


def _start_of_service(home: "Home") -> str | None:
    """The command that starts this home's service, if it is installed and an opt-out has ended it."""
    from ..admin.service.status import service_status
    from ..admin.service.unit import Author, is_same

    view = service_status(home, os.environ)
    if view.author not in {Author.OURS, Author.EDITED} or not is_same(view.home, home):
        return None
    is_down = view.is_for_here and view.active.startswith(("inactive", "failed"))
    return view.start_command if is_down else None


def _tell(consent: dict[str, Any], start: str | None = None) -> None:
    output.say_consent(enabled=consent["enabled"], reason=consent["reason"], change=consent["change"])
    if start:
        output.say(f"The service of this home does not run; `{start}` starts it again.")


def _tell_off(consent: dict[str, Any], result: "DisableResult") -> None:
    _tell(consent)
    waited = output.number(result.purged.events, "waiting event") if result.purged.events else ""
    if waited:
        output.say(f"Not all of {waited} could be deleted." if result.problems else f"Deleted {waited}.")
    else:
        output.say("No event waited.")
    if result.old_settings is not None:
        output.say(f"The settings file could not be edited; the old one is kept as {result.old_settings}.")
    if not result.sidecar_ended and not result.refusal:
        output.say("A sidecar has not ended yet. It may finish one request, and sends nothing after that.")
