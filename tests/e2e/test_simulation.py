"""A real Flower simulation, once as Flower is and once under ``flwr-telemetry run``.

Both run with the trap of ``trap/sitecustomize.py`` on their path. In the first it catches what Flower
itself would have sent, body by body: that is what has to arrive at our collector in the second, where
the trap must stay empty.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import uuid
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import homes, processes, wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.collector import Collector
    from tests.support.wire import Event

HERE = Path(__file__).parent
SIMULATION = str(HERE / "simulation.py")
NODES, ROUNDS = 10, 3
PATIENCE_S = 240.0

URL = "https://telemetry.flower.ai/api/v1/event"
ENTER, LEAVE = "PYTHON_API_RUN_SIMULATION_ENTER", "PYTHON_API_RUN_SIMULATION_LEAVE"


@pytest.fixture
def ray_directory() -> Iterator[str]:
    """Give Ray a directory with a short name: the name of a socket in it may have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield path


def simulate(home: Path, arguments: Sequence[str], trap: Path, ray_directory: str) -> list[dict[str, Any]]:
    """Run the simulation to its good end, and give what the trap has seen."""
    environment = {
        "PYTHONPATH": str(HERE / "trap"),
        "TRAP_FILE": str(trap),
        "RAY_TMPDIR": ray_directory,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else each worker warns of a coming change
    }
    done = processes.run(home, arguments, environment, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in trap.read_text().splitlines()]


def comparable(events: Sequence[Event]) -> list[str]:
    """Give events as Flower's JSON text, order of keys included, without what differs from run to run."""
    texts = []
    for event in copy.deepcopy(events):
        context, details = event["context"], event["event_details"]
        for name in ("source", "cluster"):
            context[name] = str(uuid.UUID(context[name])) == context[name]
        context["date"] = wire.iso(wire.microseconds(context["date"])) == context["date"]
        if "run-id-hash" in details:
            details["run-id-hash"] = len(details["run-id-hash"])
        texts.append(json.dumps(event))
    return sorted(texts)


@pytest.mark.e2e
def test_a_real_simulation_reports_through_us_alone(
    home: Path, tmp_path: Path, collector: Collector, ray_directory: str
) -> None:
    """Under ``flwr-telemetry run`` what Flower would have sent arrives from us, and Flower sends nothing."""
    homes.configure(home, collector.url)

    as_flower_is = simulate(tmp_path / "other", [SIMULATION], tmp_path / "unmodified", ray_directory)
    requests = [line for line in as_flower_is if line["kind"] != "start"]
    assert {(line["kind"], line["target"]) for line in requests} == {("request", URL)}
    expected = [json.loads(line["body"]) for line in requests]
    assert sorted(event["event_type"] for event in expected) == ["PING"] * NODES * ROUNDS + [ENTER, LEAVE]

    run = ["-m", "flwr_telemetryd.cli", "run", "--", sys.executable, SIMULATION]
    under_us = simulate(home, run, tmp_path / "adopted", ray_directory)
    processes.wait_until(lambda: len(collector.events()) >= len(expected), what="the events of the run")
    processes.wait_for_end(home)
    arrived = collector.events()

    # Nothing was sent by Flower, in any process: the trap, behind our own sitecustomize, was set in each.
    assert [line for line in under_us if line["kind"] != "start"] == []
    for program in ("simulation.py", "default_worker.py"):
        assert any(program in word for line in under_us for word in line["argv"])

    # Flower's own schema, but for the two figures that the sidecar adds.
    for event in arrived:
        added = [event["context"]["hw"].pop(name) for name in ("cpu_count_physical", "memory_gib")]
        assert all(type(figure) is int for figure in added)
    assert comparable(arrived) == comparable(expected)
    assert {event["context"]["flower"]["package_version"] for event in arrived} == {metadata.version("flwr")}

    # One source, and one cluster for each process: that of the simulation, and those of Ray's workers.
    assert {event["context"]["source"] for event in arrived} == {(home / "source").read_text()}
    arrived.sort(key=lambda event: wire.microseconds(event["context"]["date"]))
    first, *trainings, last = arrived
    assert (first["event_type"], last["event_type"]) == (ENTER, LEAVE)
    assert first["context"]["cluster"] == last["context"]["cluster"]
    workers = {event["context"]["cluster"] for event in trainings}
    assert first["context"]["cluster"] not in workers
    assert len(workers) <= NODES
