"""``flwr-telemetry demo``: the whole way of an event, on this machine alone."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
import re
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from ..errors import ExitCode
from . import output
from .output import JsonOption

if TYPE_CHECKING:
    from ..admin.demo.run import Report

MAX_WORKLOADS = 10_000
SHOWN_ROWS = 4
PARTS = 48


def demo(
    *,
    workloads: Annotated[int, Option(min=1, max=MAX_WORKLOADS, help="How many processes report.")] = 64,
    json: JsonOption = False,
) -> int:
    r"""Show the whole way of an event on this machine alone, without a network.

    Real workload processes report into a temporary home, and a real sidecar delivers to a receiver on
    this machine. With flwr-telemetry[collector], that is the collector, and its report comes last.
    Then the demo shows what was sent, and what Flower itself would have sent. It does not
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
    from ..admin.demo.run import run

    # The default action of these signals would leave the temporary home and the sidecar behind.
    for name in {"SIGTERM", "SIGHUP", "SIGBREAK"} & set(dir(signal)):
        number = signal.Signals[name]
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    with output.progress() as bars:
        show = output.bar(bars, "Workloads")
        report = run(
            workloads,
            os.environ,
            on_workload=lambda ended: show(ended, workloads, f"{ended} of {workloads}"),
            on_delivery=output.backlog_bar(bars, "Delivery "),
        )
    output.answer({**asdict(report), "complete": report.complete}, lambda: _tell(report), as_json=json)
    if report.complete:
        return ExitCode.OK
    output.complain(
        f"of {report.events_written} events, {report.events_missing} did not arrive, and "
        f"{report.events_doubled} arrived twice{f': {report.left_over}' if report.left_over else ''}"
    )
    return ExitCode.UNDELIVERED


def _tell(report: "Report") -> None:
    # The figures come last, where a terminal shows them.
    output.say("One of the bodies, as it was sent (with line breaks added):", "bold")
    output.say(f"{_pretty(report.body)}\n")
    workloads = output.number(report.workloads, "workload")
    written = output.number(report.events_written, "event")
    arrived = f"{report.events_received} arrived, {report.seconds:.1f} s after the first workload was started"
    output.say(f"{workloads} wrote {written}; {arrived}.\n", "bold")
    output.say(f"Running    {output.columns(_running(report.spans_us))}  over time")
    became = output.number(report.requests, "request")
    output.say(f"Sent       {written} became {became}, because events that differ little share one.\n")
    for sender, requests, size in (
        ("Sender", "Requests", "Bytes"),
        ("Flower itself would send", report.flower_requests, output.size(report.flower_bytes)),
        ("flwr-telemetry sent", report.requests, output.size(report.request_bytes)),
    ):
        output.say(f"{sender:<27}{requests:>8}{size:>12}")
    if report.answers:
        output.say("\nThe report of the collector that received them:", "bold")
        output.say(report.answers.rstrip())


def _running(spans_us: list[tuple[int, int]]) -> list[int]:
    """How many workloads ran in each of ``PARTS`` equal parts of the time."""
    end_us = max((last for _, last in spans_us), default=0) + 1
    counts = [0] * PARTS
    for first, last in spans_us:
        for part in range(first * PARTS // end_us, last * PARTS // end_us + 1):
            counts[part] += 1
    return counts


def _pretty(body: dict[str, Any]) -> str:
    """A body on several lines, with only the first few clusters and rows of a burst, each row on one line."""
    burst = dict(body.get("burst", {}))
    for name in ("clusters", "events"):
        if (more := len(burst.get(name, ())) - SHOWN_ROWS) > 0:
            burst[name] = [*burst[name][:SHOWN_ROWS], f"… {more} more"]
    shown = {**body, "burst": burst} if burst else body
    text = json_format.dumps(shown, indent=2, ensure_ascii=False)
    return re.sub(r"\[\s+\d[^][]*\]", lambda row: json_format.dumps(json_format.loads(row[0])), text)
