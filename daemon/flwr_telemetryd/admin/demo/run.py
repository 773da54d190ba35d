"""The demo: the whole way of an event on this machine alone, in a temporary home.

It runs a receiver on loopback, real workload processes, and the real sidecar that the first workload starts.
The receiver is the collector of the extra ``[collector]``, if that is installed.
Every setting but ``url`` has its default value, whatever the site and the user have set. If the site's file
switches telemetry off, the demo does not run.

This module never touches the user's own home or the network, and leaves no file and no process behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr_telemetry import files, settings
from flwr_telemetry.layout import Home
from flwr_telemetry.record import date_us
from flwr_telemetry.settings_file import Limits

from ...burst import codec
from ...errors import DemoError
from ...outbox import archive, contents
from ...outbox.backlog import Backlog
from ..flush import flush
from . import collector, workload
from .collector import Collector
from .receiver import Receiver

if TYPE_CHECKING:
    from psutil import Process

DELIVERY_S = 60.0
"""The longest wait for the delivery of all events, and for a workload."""

END_WAIT_S = 5.0
"""A process that runs so long after the opt-out is asked to end; after twice the time it is killed."""

_POLL_S = 0.01
_LEFT_OUT = frozenset(
    "DO_NOT_TRACK SLURM_JOB_ID PBS_JOBID LSB_JOBID FLUX_JOB_ID JOB_ID SGE_ROOT PYTHONWARNINGS".split()
)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a demo."""

    workloads: int
    """Processes that ran."""

    events_written: int
    """Events that the workloads put into the spool."""

    events_received: int
    """Events that the receiver has; each key counts once."""

    events_missing: int
    """Events that the receiver does not have."""

    events_doubled: int
    """Events that the receiver has too often."""

    requests: int
    """Requests of the sidecar."""

    request_bytes: int
    """The size of their bodies."""

    flower_requests: int
    """Requests that Flower itself would have made: one for each event."""

    flower_bytes: int
    """The size of the same events as bodies of their own."""

    seconds: float
    """The time from the first process to the last answer."""

    left_over: str
    """Why something was not delivered; empty if nothing is missing."""

    spans_us: list[tuple[int, int]]
    """The times of the first and the last event of each workload, in microseconds since the first of all."""

    body: dict[str, Any] = field(default_factory=dict)
    """The largest body that was sent."""

    answers: str = ""
    """The report of the collector; empty without one."""

    @property
    def complete(self) -> bool:
        """Whether every event arrived, once."""
        return not self.events_missing and not self.events_doubled


def run(
    workloads: int,
    environ: Mapping[str, str],
    *,
    on_workload: Callable[[int], None] = lambda _ended: None,
    on_delivery: Callable[[Backlog], None] = lambda _left: None,
) -> Report:
    """Run the demo.

    Args:
        workloads: the number of processes, 1 or more.
        environ: this process's variables. Those that could disturb the demo are left out.
        on_workload: receives the number of processes that have ended.
        on_delivery: receives what is left, while the rest is delivered.

    Raises:
        DemoError: a process failed, or telemetry is off for the whole site.
        OSError: the system's refusal.
    """
    began = time.monotonic()
    temporary = tempfile.TemporaryDirectory(prefix="flwr-", ignore_cleanup_errors=True)
    home = Home(Path(os.path.abspath(temporary.name)))
    made = Collector(home.path, environ) if collector.is_installed() else Receiver()
    with temporary, made as receiver:
        own = _environment(home, environ)
        _configure(home, receiver.url, own)
        try:
            _run_workloads(workloads, home, own, on_workload)
            flushed = flush(home, own, timeout_s=DELIVERY_S, on_progress=on_delivery)
            seconds = time.monotonic() - began
            answers = receiver.read()
            sent = [
                body for path in archive.archive_files(home.host()) for body, _ in archive.read_archive(path)
            ]
        finally:
            _end_processes(home)
        told = report(workloads, receiver, seconds, flushed.reason)
        return replace(told, answers=answers, body=json.loads(max(sent, key=len, default=b"{}")))


def _environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of every process of the demo, without the user's telemetry settings and proxies."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("FLWR_") and name not in _LEFT_OUT and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "FLWR_HOME": str(home.path),
        "FLWR_TELEMETRY_ENABLED": "1",
        "FLWR_TELEMETRY_SIDECAR": "always",
        "NO_PROXY": "127.0.0.1",  # also overrides the proxy settings of the system
    }


def _configure(home: Home, url: str, own: Mapping[str, str]) -> None:
    """Write every setting into the home, so that none of the site's takes its place."""
    chosen: dict[str, Any] = {**Limits()._asdict(), "url": url}
    if settings.load(home, own).proxy is not None:
        chosen["proxy"] = url  # instead of the site's proxy: the receiver is its own proxy
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in chosen.items() if value is not None]
    files.ensure_directory(home.telemetry)
    files.replace_bytes(home.config, "".join(lines).encode())
    consent = settings.load(home, own).consent
    if not consent.enabled:
        raise DemoError(f"the demo cannot run: telemetry is off ({consent.reason})")


def _run_workloads(count: int, home: Home, own: Mapping[str, str], on_end: Callable[[int], None]) -> None:
    """Run the processes, as many at a time as there are processors."""
    pool = ThreadPoolExecutor(processors())
    try:
        futures = [pool.submit(_run_workload, number, home, own) for number in range(count)]
        for ended, future in enumerate(as_completed(futures), 1):
            future.result()
            on_end(ended)
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """The number of processors that this process may use, at least 1."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def _run_workload(number: int, home: Home, own: Mapping[str, str]) -> None:
    command = [sys.executable, "-P", "-m", workload.__name__, str(number)]
    try:
        done = subprocess.run(  # noqa: S603 - nothing in it comes from outside
            command, capture_output=True, text=True, check=False, timeout=DELIVERY_S, cwd=home.path, env=own
        )
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"a workload did not end within {error.timeout:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise DemoError(f"a workload failed with {done.returncode}: {lines[-1]}")


def _end_processes(home: Home) -> None:
    """Switch telemetry off in this home, which ends a sidecar, and wait until no process is left."""
    with contextlib.suppress(OSError):
        files.replace_bytes(home.config, b"enabled = false\n")
    began = time.monotonic()
    while left := _processes_of(home):
        waited_s = time.monotonic() - began
        for process in left:
            with contextlib.suppress(Exception):  # it has just ended
                if waited_s > 2 * END_WAIT_S:
                    process.kill()
                elif waited_s > END_WAIT_S:
                    process.terminate()
        time.sleep(_POLL_S)


def _processes_of(home: Home) -> list[Process]:
    """The living processes that were started for this home, and so for this demo; none without proc(5)."""
    found: list[Process] = []
    # psutil raises many things where /proc is hidden. The opt-out ends the processes anyway.
    with contextlib.suppress(Exception):
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get("FLWR_HOME") == str(home.path):
                    found.append(process)
    return found


def report(workloads: int, receiver: Receiver | Collector, seconds: float, left_over: str) -> Report:
    """Compare the events that a receiver has with those that the workloads reported."""
    events = [event for body in receiver.bodies.values() for event in contents.expand(body)]
    got = Counter((event["event_type"], event["event_details"].get("run-id-hash")) for event in events)
    expected = Counter(
        (kind.value, workload.run_id_hash(number))
        for number in range(workloads)
        for kind in (workload.ENTER, workload.LEAVE)
    )
    return Report(
        workloads=workloads,
        events_written=expected.total(),
        events_received=len(events),
        events_missing=(expected - got).total(),
        events_doubled=(got - expected).total(),
        requests=receiver.requests,
        request_bytes=receiver.request_bytes,
        flower_requests=expected.total(),
        flower_bytes=sum(len(codec.dumps(event)) for event in events),
        seconds=round(seconds, 2),
        left_over=left_over,
        spans_us=_spans_us(events),
    )


def _spans_us(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    times: dict[str, list[int]] = {}
    for event in events:
        times.setdefault(event["context"]["cluster"], []).append(date_us(event["context"]["date"]))
    begin_us = min(map(min, times.values()), default=0)
    return sorted((min(found) - begin_us, max(found) - begin_us) for found in times.values())
