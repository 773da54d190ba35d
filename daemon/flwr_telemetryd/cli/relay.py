"""``flwr-telemetry relay FILE``: deliver what hosts without a way out have put into a file."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AnotherRelayError, ExitCode, FileSinkError, NoSuchFileError
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
    size,
)

if TYPE_CHECKING:
    from ..admin.relay.relay import RelayResult

SHOWN_LINES = 10

HELP = help_text("""Deliver the bodies in a file that hosts without a way out have written.

Where no host of a home can reach the collector, its settings say where to put the bodies instead:
url = "file:///shared/metrics.jsonl". This command delivers that file from a machine with a network,
byte for byte, through the home of this machine: its settings say where to.

How far it came is kept beside the file, in FILE.relayed. Run it again at any time, or from cron:
after an interruption it goes on, and what was appended since is delivered. FILE is never changed.
Invalid lines are reported and skipped; a last line without an end is left for the next time.

\b
Exit codes:
  0  every body in the file is delivered, or was refused by the collector and is kept
  1  something is left, or a line was no body
  2  there is no such file, or this home delivers into a file itself
  3  telemetry is off
  4  another relay is at work on this file
  5  the home cannot be used, or FILE.relayed not be written

\b
Examples:
  flwr-telemetry relay /shared/metrics.jsonl
  flwr-telemetry relay --home ~/.flwr-relay --timeout 300 metrics.jsonl
  */10 * * * * flwr-telemetry relay /shared/metrics.jsonl >/dev/null     in a crontab
""")


def relay(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file.", show_default=False)],
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0, metavar="S", help="Give up when nothing moves for so many seconds."),
    ] = 60.0,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Deliver the file, and tell what came of it."""
    from ..admin.relay.relay import relay_file
    from ..delivery.deadline import RESOLVER_OPTIONS

    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    found = home_to_deliver(home, timeout)
    with progress() as bar:
        task = bar.add_task("Relaying", total=None, word="")
        damaged: list[int] = []

        def tell_damage(line: int) -> None:
            damaged.append(line)
            if len(damaged) <= SHOWN_LINES:
                complain(f"line {line} of {file} is no body; it is not delivered")

        def tell_progress(done: float, total: int) -> None:
            bar.update(task, completed=done, total=total, word=f"{size(done)} of {size(total)}")

        try:
            relayed = relay_file(
                found,
                os.environ,
                Path(file),
                timeout_s=timeout,
                on_damage=tell_damage,
                on_progress=tell_progress,
            )
        except KeyboardInterrupt:
            bar.stop()
            complain("interrupted; what is not delivered is kept, and the next relay goes on from there")
            raise typer.Exit(ExitCode.UNDELIVERED) from None
        except (NoSuchFileError, FileSinkError) as error:
            bar.stop()
            raise typer.BadParameter(str(error), param_hint="FILE") from None
        except AnotherRelayError as error:
            bar.stop()
            complain(str(error))
            raise typer.Exit(ExitCode.BUSY) from None
    if json:
        print_json(_public(relayed))
    else:
        _tell(relayed, file)
    for problem in _problems(relayed, file):
        complain(problem)
    raise typer.Exit(_exit_code(relayed))


def _exit_code(relayed: "RelayResult") -> ExitCode:
    from ..admin.flush import Outcome

    if relayed.outcome is Outcome.DISABLED:
        return ExitCode.DISABLED
    complete = relayed.outcome is Outcome.DELIVERED and not relayed.rest_bytes and not relayed.damaged
    return ExitCode.OK if complete else ExitCode.UNDELIVERED


def _public(relayed: "RelayResult") -> dict[str, object]:
    return {**asdict(relayed), "outcome": relayed.outcome.name.lower(), "reason": relayed.reason or None}


def _tell(relayed: "RelayResult", file: str) -> None:
    from ..admin.flush import Outcome

    out = console()
    if relayed.from_start:
        say(
            out,
            f"{file} is another file than the one that was relayed before: it is read from its beginning.",
        )
    if relayed.bodies:
        done = number(max(relayed.events - relayed.rejected, 0), "event")
        say(out, f"Delivered {done} of {file}, in {number(relayed.bodies, 'body', 'bodies')}.")
    elif relayed.outcome is Outcome.DELIVERED and not relayed.damaged and not relayed.forgotten:
        say(out, f"Nothing new in {file}.")
    if relayed.rejected:
        refused = number(relayed.rejected, "event")
        say(out, f"The collector refused {refused}; see `flwr-telemetry inspect --stage rejected`.")
    if relayed.forgotten:
        bodies = number(relayed.forgotten, "body", "bodies")
        say(out, f"Not sent, because the source ID was forgotten in this home: {bodies}.")


def _problems(relayed: "RelayResult", file: str) -> list[str]:
    from ..admin.flush import Outcome

    found = []
    if relayed.damaged > SHOWN_LINES:
        found.append(f"in all, {relayed.damaged} lines of {file} are no bodies")
    if relayed.outcome is Outcome.DISABLED:
        found.append(f"{file} is not relayed, because telemetry is off: {ended(relayed.reason)}")
    elif relayed.outcome is Outcome.UNDELIVERED:
        found.append(
            f"{size(relayed.rest_bytes)} of {file} are left: {ended(relayed.reason)} "
            "They are kept; run the same command again, or see `flwr-telemetry status`."
        )
    elif relayed.rest_bytes:
        found.append(f"the last line of {file} has no end yet; it is left for the next time")
    return found
