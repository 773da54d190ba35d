"""``flwr-telemetry relay FILE``: deliver a file that hosts without a network have written."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

from ..errors import ExitCode, FileSinkError, NoSuchFileError
from . import output
from .flush import say_refused
from .output import HomeOption, JsonOption, number, size

if TYPE_CHECKING:
    from ..admin.relay.relay import RelayResult

SHOWN_LINES = 10


def relay(
    *,
    file: Annotated[str, Argument(metavar="FILE", help="The file.")],
    timeout: Annotated[
        float, Option(min=0, metavar="S", help="Give up after so many seconds without an answer.")
    ] = 60.0,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Deliver the bodies in a file that hosts without a network have written.

    If no host of a home can reach the collector, its settings name a file for the bodies instead:
    url = "file:///shared/metrics.jsonl". This command delivers that file from a machine with a network,
    byte for byte. The settings of this machine's home name the collector.

    The offset is saved beside the file, in FILE.relayed. Run the command again at any time, or from cron:
    it goes on after an interruption, and delivers what was appended since. FILE is never changed. Invalid
    lines are reported and skipped; a last line without a line end is left for the next time.

    \b
    Exit codes:
      0  every body in the file is delivered, or was refused by the collector and is kept
      1  something is left, or a line is not a body
      2  there is no such file, or this home delivers into a file itself
      3  telemetry is off
      4  another relay is running on this file
      5  the home cannot be used, or FILE.relayed cannot be written

    \b
    Examples:
      flwr-telemetry relay /shared/metrics.jsonl
      flwr-telemetry relay --home ~/.flwr-relay --timeout 300 metrics.jsonl
      */10 * * * * flwr-telemetry relay /shared/metrics.jsonl >/dev/null     in a crontab
    """
    from ..admin.flush import Outcome
    from ..admin.relay.relay import relay_file
    from ..delivery.deadline import RESOLVER_OPTIONS

    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    found = output.home_to_deliver(home, timeout)
    damaged = itertools.count(1)

    def on_damage(line: int) -> None:
        if next(damaged) <= SHOWN_LINES:
            output.complain(f"line {line} of {file} is not a body, and is not delivered")

    try:
        with output.progress() as bars:
            show = output.bar(bars, "Relaying")

            def on_progress(done: float, whole: int) -> None:
                show(done, whole, f"{size(done)} of {size(whole)}")

            path = Path(file)
            relayed = relay_file(
                found, os.environ, path, timeout_s=timeout, on_damage=on_damage, on_progress=on_progress
            )
    except KeyboardInterrupt:
        output.complain("interrupted; the rest is kept, and the next relay goes on from there")
        return ExitCode.UNDELIVERED
    except (FileSinkError, NoSuchFileError) as error:
        raise BadParameter(str(error), param_hint="FILE") from None
    public = {**asdict(relayed), "reason": relayed.reason or None}
    output.answer(public, lambda: _tell(relayed, file), as_json=json)
    problems = list(_problems(relayed, file))
    output.complain(*problems)
    if relayed.outcome in {Outcome.DISABLED, Outcome.KEPT}:
        return ExitCode.DISABLED
    return ExitCode.UNDELIVERED if problems or relayed.damaged else ExitCode.OK


def _tell(relayed: "RelayResult", file: str) -> None:
    from ..admin.flush import Outcome

    if relayed.from_start:
        output.say(f"{file} is not the file that was relayed before, so it is read from its beginning.")
    if relayed.bodies:
        done = number(max(relayed.events - relayed.rejected, 0), "event")
        output.say(f"Delivered {done} of {file}, in {number(relayed.bodies, 'body', 'bodies')}.")
    elif relayed.outcome is Outcome.DELIVERED and not relayed.damaged and not relayed.forgotten:
        output.say(f"Nothing new in {file}.")
    say_refused(relayed.rejected)
    if relayed.forgotten:
        bodies = number(relayed.forgotten, "body", "bodies")
        output.say(f"Not sent, because the source ID was forgotten in this home: {bodies}.")


def _problems(relayed: "RelayResult", file: str) -> Iterator[str]:
    """One sentence for each reason why not every line was delivered."""
    from ..admin.flush import Outcome

    if relayed.damaged > SHOWN_LINES:
        yield f"in all, {relayed.damaged} lines of {file} are not bodies"
    if relayed.outcome is Outcome.DISABLED:
        yield f"{file} is not relayed, because telemetry is off: {output.ended(relayed.reason)}"
    elif relayed.outcome is Outcome.KEPT:
        yield f"{file} is not relayed, because nothing is sent: {output.ended(relayed.reason)}"
    elif relayed.outcome is Outcome.UNDELIVERED:
        yield (
            f"{size(relayed.rest_bytes)} of {file} are left: {output.ended(relayed.reason)} "
            "They are kept; run the same command again, or see `flwr-telemetry status`."
        )
    elif relayed.rest_bytes:
        yield f"the last line of {file} has no line end yet; it is left for the next time"
