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
from . import output
from .output import JsonOption

if TYPE_CHECKING:
    from types import FrameType

    from ..admin.demo.run import Report

MAX_WORKLOADS = 10_000
SHOWN_ROWS = 4


def demo(
    *,
    workloads: Annotated[
        int, typer.Option("--workloads", min=1, max=MAX_WORKLOADS, help="How many processes report.")
    ] = 64,
    json: JsonOption = False,
) -> int:
    r"""Show the whole way of an event on this machine alone, without a network.

    Real workload processes report into a temporary home, and a real sidecar delivers to a receiver on
    this machine. Then the demo shows what was sent, and what Flower itself would have sent. It does not
    touch your home or your settings, removes the temporary home, and works with telemetry switched off, too.

    \b
    Exit codes:
      0  every event arrived
      1  an event is missing, or the demo could not run

    \b
    Examples:
      flwr-telemetry demo
      flwr-telemetry demo --workloads 8 --json
    """
    from ..admin.demo.run import DemoError, run

    # The default action of these signals would leave the temporary home and the sidecar behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    os.umask(0o077)
    try:
        with output.progress() as bar:
            running = bar.add_task("Workloads", total=workloads, label=f"0 of {workloads}")
            delivery = bar.add_task("Delivery ", total=None, visible=False, label="")

            def on_workload() -> None:
                bar.advance(running)
                bar.update(running, label=f"{bar.tasks[running].completed:.0f} of {workloads}")

            report = run(
                workloads,
                os.environ,
                on_workload=on_workload,
                on_delivery=lambda left: output.show_backlog(bar, delivery, left),
            )
    except DemoError as error:
        output.complain(str(error))
        return ExitCode.UNDELIVERED
    if json:
        output.print_json({**asdict(report), "complete": report.complete})
    else:
        _tell(report)
    if not report.complete:
        output.complain(_complaint(report))
        return ExitCode.UNDELIVERED
    return ExitCode.OK


def _leave(number: int, _frame: "FrameType | None") -> None:
    sys.exit(128 + number)


def _complaint(report: "Report") -> str:
    reason = f": {report.left_over}" if report.left_over else ""
    return (
        f"of {report.events_written} events, {report.events_missing} did not arrive, and "
        f"{report.events_doubled} arrived twice{reason}"
    )


def _tell(report: "Report") -> None:
    from rich.table import Table

    # The figures come last, where a terminal shows them.
    output.say("One of the bodies, as it was sent (with line breaks added):", "bold")
    output.say(_pretty(report.body))
    output.say()
    workloads = output.number(report.workloads, "workload")
    events = output.number(report.events_written, "event")
    output.say(
        f"{workloads} wrote {events}; {report.events_received} arrived, {report.seconds:.1f} s after the "
        "first workload was started.",
        "bold",
    )
    output.say()
    rows = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    rows.add_column("Sender")
    rows.add_column("Requests", justify="right")
    rows.add_column("Bytes", justify="right")
    rows.add_row("Flower itself would send", str(report.flower_requests), output.size(report.flower_bytes))
    rows.add_row("flwr-telemetry sent", str(report.requests), output.size(report.request_bytes))
    output.console().print(rows)


def _pretty(body: dict[str, Any]) -> str:
    """A body on several lines, with only the first few clusters and rows of a burst."""
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
    """The first rows of a list, one a line, and the number of the others."""
    lines = [f"      {json_format.dumps(row)}" for row in rows[:SHOWN_ROWS]]
    if len(rows) > SHOWN_ROWS:
        lines.append(f"      … {len(rows) - SHOWN_ROWS} more")
    return "[\n" + ",\n".join(lines) + "\n    ]"
