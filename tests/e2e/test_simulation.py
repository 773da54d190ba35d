"""Programs that use Flower, unmodified and under ``flwr-telemetry run``."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.e2e.federation import NODES as PAIR
from tests.support import ports, processes, readme, wire

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
SIMULATION, LEGACY, PARTITIONS, KILLING = (
    str(HERE / f"{name}.py") for name in ("simulation", "legacy", "partitions", "killing")
)
NODES, ROUNDS = 10, 3
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"


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


def simulate(one):
    one.complete(LEGACY, "simulation")


def serve(one):
    """Run a server without apps, and its clients; a client does not wait for its server."""
    (port,) = ports.free(1)
    address = f"127.0.0.1:{port}"
    with one.start(LEGACY, "server", address) as server, ThreadPoolExecutor() as pool:
        try:
            processes.wait_until(lambda: server.poll() is not None or ports.listens(port), what=address)
            list(pool.map(lambda number: one.complete(LEGACY, "client", address, str(number)), range(PAIR)))
            assert server.wait(sides.PATIENCE_S) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("train", [serve, pytest.param(simulate, marks=pytest.mark.heavy)])
def test_every_event_of_a_legacy_training_arrives(tmp_path, record_property, train):
    """A server with its clients, and a simulation with its Ray, report only through us."""
    found = sides.side_by_side(tmp_path, train)
    record_property("table", found.table)
    trainings = [event for event in found.came if event["event_type"] == "PING"]
    assert len(trainings) == PAIR * ROUNDS


def test_every_event_of_flwr_datasets_arrives(tmp_path, record_property):
    """Its context has `package` instead of `flower`, and no partner. With Flower it is one workload."""
    pytest.importorskip("flwr_datasets", reason="flwr-datasets comes with `python -m tests.e2e.releases`")
    found = sides.side_by_side(tmp_path, lambda one: one.complete(PARTITIONS, str(one.scratch)))
    record_property("table", found.table)
    contexts = [event["context"] for event in found.came]
    assert sum("package" in context for context in contexts) == 2
    assert sum("flower" in context for context in contexts) == 2
    assert len({context["cluster"] for context in contexts}) == 1


@pytest.mark.heavy
@pytest.mark.skipif(sides.RELEASE < sides.RAYS_APART, reason="this Ray kills only what stayed its child")
@pytest.mark.skipif(bool(sides.EMBEDDED), reason="it is about `flwr-telemetry run`")
def test_a_sidecar_that_dies_with_a_ray_worker_is_replaced(tmp_path, collector, monkeypatch):
    """The strictest Ray kills a worker's children; the next event outside Ray starts another sidecar."""
    monkeypatch.setenv(SUBREAPER, "true")
    # The long window keeps events in the spool, so that the sidecar dies before it has sent them.
    with sides.ours(tmp_path, collector.url, burst_window_s=600, respawn_s=0) as ours:
        ours.changes["PYTHONPATH"] = f"{sides.TRAP}:{readme.ROOT}"
        told = json.loads(ours.complete(KILLING).splitlines()[-1])
        assert not told["outlived"]
        assert told["last"] != told["first"]
        # Some releases of Ray kill that one too, with the driver; then flush starts another.
        assert collector.requests == []
        assert processes.flush(ours.home, processes.PATIENCE_S)
        assert wire.serials(sides.arrived(ours, collector)) == list(range(15))
