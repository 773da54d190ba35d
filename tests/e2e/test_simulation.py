"""The simulation engine, unmodified and under ``flwr-telemetry run``."""

from pathlib import Path

import pytest

from tests.e2e import sides

pytestmark = pytest.mark.e2e

SIMULATION = str(Path(__file__).with_name("simulation.py"))
NODES, ROUNDS = 10, 3


def test_every_event_of_a_simulation_arrives(tmp_path, record_property):
    """Driver and Ray's workers report through us alone, and each process is one workload."""
    found = sides.side_by_side(tmp_path, lambda one: one.complete(SIMULATION))
    record_property("table", found.table)
    trainings = [event for event in found.came if event["event_type"] == "PING"]
    others = [event for event in found.came if event["event_type"] != "PING"]
    assert len(trainings) == NODES * ROUNDS
    workers = {event["context"]["cluster"] for event in trainings}
    (driver,) = {event["context"]["cluster"] for event in others}
    assert driver not in workers
    assert len(workers) <= NODES


@pytest.mark.heavy
def test_every_event_of_a_cluster_arrives(tmp_path):
    """Workers on all nodes of a Ray cluster share the source, the spool and the sidecar of the machine."""
    found = sides.side_by_side(tmp_path, lambda one: one.complete(SIMULATION, "cluster"))
    trainings = [line for line in found.reported if line["event_type"] == "PING"]
    assert len(trainings) == NODES * ROUNDS
    words = {word for line in trainings for word in line["argv"]}
    assert len([word for word in words if word.startswith("--raylet-name=")]) == 3


@pytest.mark.heavy
def test_what_a_failing_app_reported_arrives(tmp_path):
    """An exception in the server app gives the same status as without us, and is reported as a failure."""
    sides.side_by_side(tmp_path, lambda one: one.told.append(one.run(SIMULATION, "fail")[0]))
