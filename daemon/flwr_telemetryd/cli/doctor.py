"""``flwr-telemetry doctor``: what is in the way of telemetry on this machine, and what to do."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from typing import TYPE_CHECKING

import typer

from ..errors import ExitCode
from .output import (
    HomeOption,
    JsonOption,
    console,
    ended,
    help_text,
    number,
    plain,
    print_json,
    say,
    the_home,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..admin.doctor import Check

HELP = help_text("""Check what telemetry needs on this machine, and say what to do.

The home and its permissions, file locks, the clock, the sidecar, proxy, name resolution and TLS to
the collector, systemd and batch systems. No event is sent: the collector is asked for headers alone.
With telemetry off nothing is written or sent at all, and what would need that is skipped.

\b
Exit codes:
  0  nothing is in the way
  1  a fault keeps events from being recorded or delivered

\b
Examples:
  flwr-telemetry doctor
  flwr-telemetry doctor --json
""")

_STYLES = {"ok": "green", "note": "yellow", "fault": "bold red", "skipped": "dim"}
_INDENT = 23
_NARROW = 50


def doctor(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Check one thing after the other, and show each at once."""
    from ..admin.doctor import Verdict, examine
    from ..clock import Clock
    from ..delivery.deadline import RESOLVER_OPTIONS

    # A look-up of a name cannot be interrupted, and a checked name should be one that a sidecar finds.
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    found: list[Check] = []
    out = console()
    for check in examine(the_home(home, os.environ), os.environ, Clock()):
        found.append(check)
        if not json:
            _show(out, check)
    faults = sum(check.verdict is Verdict.FAULT for check in found)
    if json:
        print_json({"checks": [_public(check) for check in found], "faults": faults})
    else:
        say(out)
        say(out, f"{number(faults, 'fault')} in the way." if faults else "Nothing is in the way.", "bold")
    if faults:
        raise typer.Exit(ExitCode.UNDELIVERED)


def _public(check: "Check") -> dict[str, str]:
    return {
        "name": check.name,
        "verdict": check.verdict.value,
        "found": check.found,
        "advice": check.advice,
    }


def _show(out: "Console", check: "Check") -> None:
    from rich.padding import Padding
    from rich.text import Text

    word = check.verdict.value
    head = Text.assemble((f"{word:<9}", _STYLES[word]), (f"{check.name:<14}", "bold"))
    if not out.is_terminal:
        say(out, f"{head.plain}{ended(check.found)}")
        if check.advice:
            say(out, f"{'':<{_INDENT}}-> {check.advice}")
        return
    if out.width < _NARROW:
        out.print(head)
        out.print(Padding(plain(ended(check.found)), (0, 0, 0, 2)))
        if check.advice:
            out.print(Padding(Text(f"→ {plain(check.advice)}", style="cyan"), (0, 0, 0, 2)))
        return
    from rich.table import Table

    grid = Table.grid()
    grid.add_column(width=_INDENT, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(head, plain(ended(check.found)))
    if check.advice:
        grid.add_row("", Padding(Text(f"→ {plain(check.advice)}", style="cyan"), 0))
    out.print(grid)
