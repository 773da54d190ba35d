"""The commands for people."""

import importlib.metadata
import sys

import pytest

from tests.support import flower, homes, processes, records, wire
from tests.support.commands import answer_of, ran
from tests.support.processes import NEVER


@pytest.fixture(autouse=True)
def _forked():
    """Start each command, as people do."""


def test_status_tells_the_counters_by_name(home, collector):
    """`damaged`, `dropped`, `rejected` and `retried` are there, and outlive the sidecar that counted."""
    homes.configure(home, collector.url, bursts=False)
    homes.put_bytes(home, b"rubbish" + b"".join(map(records.encode, records.series(3))))
    collector.answer_with(503, 400)
    processes.once(home)
    processes.deliver(home, times=5)
    counters = answer_of(home, "status")["totals"]["counters"]
    assert counters == {"damaged": 1, "dropped": 0, "rejected": 1, "retried": 1}


@pytest.mark.parametrize("env", [NEVER, {}], ids=["no sidecar", "a sidecar"])
def test_the_flush_command_delivers_everything(home, collector, env):
    """A sidecar that runs does it; otherwise the command, although workloads may start none."""
    homes.configure(home, collector.url, burst_window_s=600, idle_exit_s=600)
    processes.emit(home, 3, env=env)
    pids = [] if env else [processes.running_sidecar(home)]
    ran(home, "flush", "--timeout", "50", env=env)
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert processes.sidecars(home) == pids


@flower.needed
def test_run_puts_our_emitter_in_place_of_flowers(home, collector):
    """A Flower that knows nothing of us spools, under its own version, also in a child process."""
    report = "from flwr.supercore.telemetry import EventType, event\n"
    report += "print(event(EventType.START_SERVER_ENTER, {'n': 1}).result())"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {report!r}], check=True)"
    done = ran(home, "run", "--", sys.executable, "-c", code, env=NEVER)
    assert done.stdout.splitlines()[-1] == "spooled"
    (event,) = homes.spooled(home)
    assert (event["event_type"], event["event_details"]) == ("START_SERVER_ENTER", {"n": 1})
    assert event["context"]["flower"] == {
        "package_name": "flwr",
        "package_version": importlib.metadata.version("flwr"),
    }
    assert collector.requests == []
