"""The embedded default: the whole way of an event on this machine alone, in a home that is thrown away.

A temporary home, a receiver on loopback, real workload processes, a real sidecar that the first of them
starts. The default settings hold, whatever the site and the user have set, but for where events go. Only
the site's word that telemetry is off is respected.

This room must never touch the user's own home or the network, and leaves no file and no process behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr_telemetry import files, settings
from flwr_telemetry.layout import Home
from flwr_telemetry.settings_file import Limits

from ...burst import codec
from ...errors import SidecarError
from ...outbox import contents
from ...outbox.backlog import Backlog
from .. import flush
from . import workload
from .receiver import Receiver

DELIVERY_S = 60.0
END_WAIT_S = 5.0

_POLL_S = 0.01
_LEFT_OUT = frozenset(
    "DO_NOT_TRACK SLURM_JOB_ID PBS_JOBID LSB_JOBID FLUX_JOB_ID JOB_ID SGE_ROOT PYTHONWARNINGS".split()
)


class DemoError(SidecarError):
    """The demo could not run to its end."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the demo measured.

    Attributes:
        workloads: how many processes ran.
        events_written: events that they put into the spool.
        events_received: events that the receiver has, each key counted once.
        events_missing: events of which the receiver knows nothing.
        events_doubled: events that it has more often than once.
        requests: made by the sidecar.
        request_bytes: of their bodies.
        flower_requests: what Flower would have made itself: one for each event.
        flower_bytes: of the same events as bodies of their own.
        seconds: from the first process to the last answer.
        body: the largest body that was received.
        left_over: why something was not delivered; empty if nothing is missing.
    """

    workloads: int
    events_written: int
    events_received: int
    events_missing: int
    events_doubled: int
    requests: int
    request_bytes: int
    flower_requests: int
    flower_bytes: int
    seconds: float
    body: dict[str, Any]
    left_over: str

    @property
    def complete(self) -> bool:
        """Whether every event arrived, once."""
        return not self.events_missing and not self.events_doubled


def run(
    workloads: int,
    environ: Mapping[str, str],
    *,
    on_workload: Callable[[], None] = lambda: None,
    on_delivery: Callable[[Backlog], None] = lambda _left: None,
) -> Report:
    """Run the demo.

    Args:
        workloads: how many processes, 1 or more.
        environ: this process's variables; those that could disturb the demo are left out.
        on_workload: called when a process has ended.
        on_delivery: told what is left, while the rest is delivered.

    Raises:
        DemoError: a process failed, or telemetry is off for the whole site.
        OSError: the system's refusal.
    """
    began = time.monotonic()
    with _temporary_home() as home, Receiver() as receiver:
        own = environment(home, environ)
        _configure(home, receiver.url, own)
        try:
            _run_workloads(workloads, home, own, on_workload)
            drained = flush.drain(home, own, timeout_s=DELIVERY_S, on_progress=on_delivery)
            seconds = time.monotonic() - began
        finally:
            _end_sidecars(home)
        return report(workloads, receiver, seconds, drained.reason)


def environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of everything that runs for the demo: no word of the user's telemetry, no way out."""
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
        "NO_PROXY": "127.0.0.1",  # says no to the system's own proxy settings too
    }


@contextlib.contextmanager
def _temporary_home() -> Iterator[Home]:
    directory = tempfile.mkdtemp(prefix="flwr-")
    try:
        yield Home(Path(os.path.abspath(directory)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _configure(home: Home, url: str, own: Mapping[str, str]) -> None:
    """Write every setting out, so that none of the site's takes its place."""
    chosen: dict[str, Any] = Limits()._asdict()
    chosen["url"] = url
    if settings.load(home, own).proxy is not None:
        chosen["proxy"] = url  # the site's proxy is not to hear of this: the receiver is its own
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in chosen.items() if value is not None]
    files.ensure_directory(home.telemetry)
    files.replace_bytes(home.config, "".join(lines).encode())
    consent = settings.load(home, own).consent
    if not consent.enabled:
        raise DemoError(f"the demo cannot run: telemetry is off ({consent.reason})")


def _run_workloads(count: int, home: Home, own: Mapping[str, str], on_end: Callable[[], None]) -> None:
    """Run the processes, as many at a time as there are processors."""
    waiting = iter(range(count))
    running: list[subprocess.Popen[str]] = []
    at_a_time = processors()
    try:
        while True:
            more = itertools.islice(waiting, at_a_time - len(running))
            running.extend(_start(number, home, own) for number in more)
            if not running:
                return
            time.sleep(_POLL_S)
            for process in [process for process in running if process.poll() is not None]:
                running.remove(process)
                _, said = process.communicate()
                if process.returncode != 0:
                    word = said.strip().splitlines()[-1:] or ["no word"]
                    raise DemoError(f"a workload failed with {process.returncode}: {word[0]}")
                on_end()
    finally:
        for process in running:
            process.kill()
            process.communicate()


def processors() -> int:
    """How many processors this process may use, at least 1."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def _start(number: int, home: Home, own: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [sys.executable, "-P", "-m", workload.__name__, str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home.path,
        env=dict(own),
    )


def _end_sidecars(home: Home) -> None:
    """Switch telemetry off in this home, which ends a sidecar, and wait until no process is left."""
    import psutil

    with contextlib.suppress(OSError):
        files.replace_bytes(home.config, b"enabled = false\n")
    began = time.monotonic()
    while left := _processes_of(home):
        waited_s = time.monotonic() - began
        for process in left:
            with contextlib.suppress(psutil.Error):
                if waited_s > 2 * END_WAIT_S:
                    process.kill()
                elif waited_s > END_WAIT_S:
                    process.terminate()
        time.sleep(_POLL_S)


def _processes_of(home: Home) -> list[Any]:
    """The living processes that were started for this home, and so for this demo."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get("FLWR_HOME") == str(home.path):
                found.append(process)
    return found


def report(workloads: int, receiver: Receiver, seconds: float, left_over: str) -> Report:
    """Hold what a receiver has against what so many workloads reported."""
    bodies = list(receiver.bodies.values())
    events = [event for body in bodies for event in contents.expand(body)]
    got = Counter((event["event_type"], event["event_details"].get("run-id-hash")) for event in events)
    expected = Counter(
        (kind.value, workload.run_id_hash(number))
        for number in range(workloads)
        for kind in (workload.ENTER, workload.LEAVE)
    )
    largest = max(bodies, key=len, default=b"{}")
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
        body=json.loads(largest),
        left_over=left_over,
    )
