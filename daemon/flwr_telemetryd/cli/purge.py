"""``flwr-telemetry purge``: remove everything that was ever written, before or after an uninstall."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from typer import Option

from flwr_telemetry import system
from flwr_telemetry.switch import SWITCH

from ..errors import ExitCode
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from ..admin.purge import Removed


def purge(
    *,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Remove everything that telemetry has ever written for you.

    That is telemetry/ of the home with your settings, your opt-out, all that waits and the record of what
    was sent; the source ID; the service of this home; and the completion of your shell. Run it before
    `pip uninstall flwr-telemetry`. Events that were sent are not deleted by it: see `flwr-telemetry forget`.

    Files that you named stay: that of url = "file:///…", and FILE.relayed beside a file that was relayed.

    \b
    Exit codes:
      0  nothing is left
      1  you answered no
      2  wrong usage; without a terminal for the question, --yes is needed
      5  the home cannot be used, or something could not be removed

    \b
    Examples:
      flwr-telemetry purge
      flwr-telemetry purge --yes --json
    """
    from ..admin import purge as removal
    from ..admin import switch
    from ..clock import Clock

    found = output.find_home(home)
    switch.check_owner(found)
    question = f"Remove everything of telemetry in {found.path}, your settings and any opt-out too?"
    if not output.confirms(question, yes=yes):
        return ExitCode.UNDELIVERED
    result = removal.everything(found, os.environ, Clock())
    output.answer(asdict(result), lambda: _tell(result), as_json=json)
    output.complain(*result.kept)
    return ExitCode.UNUSABLE if result.kept else ExitCode.OK


def _tell(result: "Removed") -> None:
    for path in result.removed:
        output.say(f"Removed {path}.")
    if not result.removed and not result.kept:
        output.say("There was nothing to remove.")
    output.say("An opt-out in the settings is gone, too: a Flower that uses this package reports again.")
    output.say("`pip uninstall flwr-telemetry` removes the programs.")
    output.say(f"{system.setting_of(SWITCH, '0')} keeps every Flower off that this shell starts.")
