"""``flwr-telemetry demo``: the whole way of an event, on this machine alone."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode
from .output import (
    JsonOption,
    complain,
    console,
    help_text,
    number,
    print_json,
    progress,
    say,
    show_left,
    size,
)

if TYPE_CHECKING:
    from types import FrameType

    from ..admin.demo.run import Report

MAX_WORKLOADS = 10_000
SHOWN_ROWS = 4

HELP = help_text("""Show the whole way of an event on this machine alone: no network, nothing left behind.

Real workload processes report into a temporary home, a real sidecar delivers to a receiver on
loopback, and you see what was sent and what Flower itself would have sent. Your own home and your
own settings are not touched; it works with telemetry switched off, too.

\b
Exit codes:
  0  every event arrived
  1  an event is missing, or the demo could not run

\b
Examples:
  flwr-telemetry demo
  flwr-telemetry demo --workloads 8 --json
""")


def demo(
    *,
    workloads: Annotated[
        int, typer.Option("--workloads", min=1, max=MAX_WORKLOADS, help="How many processes report.")
    ] = 64,
    json: JsonOption = False,
) -> None:
    """Run the demo and show what it measured."""
    from ..admin.demo.run import DemoError, run

    # The default action of these would leave the home and the sidecar behind.
    for number_of_signal in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number_of_signal, _leave)
    os.umask(0o077)
    with progress() as bar:
        running = bar.add_task("Workloads", total=workloads, word=f"0 of {workloads}")
        delivery = bar.add_task("Delivery ", total=None, visible=False, word="")

        def ended() -> None:
            bar.advance(running)
            bar.update(running, word=f"{bar.tasks[running].completed:.0f} of {workloads}")

        try:
            report = run(
                workloads,
                os.environ,
                on_workload=ended,
                on_delivery=lambda left: show_left(bar, delivery, left),
            )
        except DemoError as error:
            bar.stop()
            complain(str(error))
            raise typer.Exit(ExitCode.UNDELIVERED) from None
    if json:
        print_json({**asdict(report), "complete": report.complete})
    else:
        _tell(report)
    if not report.complete:
        complain(_complaint(report))
        raise typer.Exit(ExitCode.UNDELIVERED)


def _leave(number_of_signal: int, _frame: "FrameType | None") -> None:
    sys.exit(128 + number_of_signal)


def _complaint(report: "Report") -> str:
    why = f": {report.left_over}" if report.left_over else ""
    return (
        f"of {report.events_written} events, {report.events_missing} are missing at the receiver and "
        f"{report.events_doubled} are there twice{why}"
    )


def _tell(report: "Report") -> None:
    from rich.table import Table

    out = console()
    # The figures come last, where a terminal shows them.
    say(out, "One of the bodies, as it was sent (laid out for reading):", "bold")
    say(out, _pretty(report.body))
    say(out)
    say(
        out,
        f"{number(report.workloads, 'workload')} wrote {number(report.events_written, 'event')}; "
        f"{report.events_received} arrived, {report.seconds:.1f} s after the first one was started.",
        "bold",
    )
    say(out)
    rows = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    rows.add_column("Who sends")
    rows.add_column("Requests", justify="right")
    rows.add_column("Bytes", justify="right")
    rows.add_row("Flower itself would", str(report.flower_requests), size(report.flower_bytes))
    rows.add_row("flwr-telemetry did", str(report.requests), size(report.request_bytes))
    out.print(rows)


def _pretty(body: dict[str, Any]) -> str:
    """A body on several lines; of a burst's clusters and rows only the first few."""
    burst = body.get("burst")
    if not isinstance(burst, dict):
        return json_format.dumps(body, indent=2)
    head = json_format.dumps({name: value for name, value in body.items() if name != "burst"}, indent=2)
    lines = [
        f'    "count": {burst["count"]}',
        f'    "clusters": {_some(burst["clusters"])}',
        f'    "varying": {json_format.dumps(burst["varying"])}',
        f'    "events": {_some(burst["events"])}',
    ]
    inner = ",\n".join(lines)
    return f'{head.removesuffix("}").rstrip()},\n  "burst": {{\n{inner}\n  }}\n}}'


def _some(rows: list[Any]) -> str:
    """The first rows of a list, one a line, and how many more there are."""
    lines = [f"      {json_format.dumps(row)}" for row in rows[:SHOWN_ROWS]]
    if len(rows) > SHOWN_ROWS:
        lines.append(f"      … {len(rows) - SHOWN_ROWS} more")
    return "[\n" + ",\n".join(lines) + "\n    ]"
