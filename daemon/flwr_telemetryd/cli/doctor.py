"""``flwr-telemetry doctor``: the problems of telemetry on this machine, with advice."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..errors import ExitCode, UnusableHomeError
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from ..admin.doctor import Check

_STYLES = {"ok": "green", "note": "yellow", "fault": "bold red", "skipped": "dim"}
_INDENT = 23
_NARROW = 50


def doctor(*, json: JsonOption = False, home: HomeOption = None) -> int:
    r"""Check what telemetry needs on this machine, and say what to do.

    It checks the home and its permissions, file locks, the clock, the sidecar, proxy, name resolution and
    TLS to the collector, systemd, batch systems and containers. It sends no event, and asks the collector
    only for headers. While telemetry is off it writes no file and sends no request, and skips these checks.

    \b
    Exit codes:
      0  no fault was found
      1  a fault keeps events from being recorded or delivered

    \b
    Examples:
      flwr-telemetry doctor
      flwr-telemetry doctor --json
    """
    from ..admin.doctor import Verdict, examine
    from ..clock import Clock
    from ..delivery.deadline import RESOLVER_OPTIONS

    # No signal can interrupt a look-up of a name, so the resolver needs the time limits that a sidecar has.
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    found, silence = output.name_home(home), ""
    try:
        output.find_home(home)
    except UnusableHomeError as error:
        silence = str(error)
    checks: list[Check] = []
    for check in examine(found, os.environ, Clock(), silence):
        checks.append(check)
        if not json:
            _show(check)
    faults = sum(check.verdict is Verdict.FAULT for check in checks)
    result = {"checks": [asdict(check) for check in checks], "faults": faults}
    total = output.number(faults, "fault") if faults else "no fault"
    output.answer(result, lambda: output.say(f"\nFound {total}.", "bold"), as_json=json)
    return ExitCode.UNDELIVERED if faults else ExitCode.OK


def _show(check: "Check") -> None:
    from rich.padding import Padding
    from rich.text import Text

    out = output.console()
    head = Text.assemble((f"{check.verdict:<9}", _STYLES[check.verdict]), (f"{check.name:<14}", "bold"))
    rows = [(head, Text(output.plain(output.ended(check.found))))]
    if check.advice:
        advice = f"{'→' if out.is_terminal else '->'} {output.plain(check.advice)}"
        rows.append((Text(), Text(advice, "cyan")))
    if out.is_terminal and out.width < _NARROW:
        out.print(head, *(Padding(text, (0, 0, 0, 2)) for _, text in rows), sep="\n")
    else:
        output.pairs(rows, _INDENT)
