"""Flower without apps, which is deprecated but in use: unmodified and under ``flwr-telemetry run``."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.e2e.federation import HOST, NODES, free_ports, listens
from tests.e2e.sides import PATIENCE_S
from tests.e2e.test_simulation import ROUNDS
from tests.support import processes

pytestmark = pytest.mark.e2e

LEGACY = str(Path(__file__).with_name("legacy.py"))


def simulate(one):
    one.complete(LEGACY, "simulation")


def serve(one):
    """Run a server and its clients; a client does not wait for its server."""
    address = f"{HOST}:{free_ports(1)[0]}"
    with one.start(LEGACY, "server", address) as server, ThreadPoolExecutor() as pool:
        try:
            processes.wait_until(lambda: server.poll() is not None or listens(address), what=address)
            list(pool.map(lambda number: one.complete(LEGACY, "client", address, str(number)), range(NODES)))
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("train", [serve, pytest.param(simulate, marks=pytest.mark.heavy)])
def test_every_event_of_a_legacy_training_arrives(tmp_path, record_property, train):
    """A server with its clients, and a simulation with its Ray, report only through us."""
    found = sides.side_by_side(tmp_path, train)
    record_property("table", found.table)
    trainings = [event for event in found.came if event["event_type"] == "PING"]
    assert len(trainings) == NODES * ROUNDS
