"""Ray kills the children of its workers: a sidecar that dies with them is replaced, and no event is lost."""

import json
from pathlib import Path

import pytest

from tests.e2e import sides
from tests.support import processes, readme, wire

pytestmark = [pytest.mark.e2e, pytest.mark.heavy]

KILLING = str(Path(__file__).with_name("killing.py"))
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"


@pytest.mark.skipif(sides.RELEASE < sides.RAYS_APART, reason="this Ray kills only what stayed its child")
def test_a_sidecar_that_dies_with_a_ray_worker_is_replaced(tmp_path, collector, monkeypatch):
    """The strictest Ray kills the sidecar with its worker; the next event outside Ray starts another."""
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
