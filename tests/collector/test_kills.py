"""64 sidecars, while collector and database are killed at random: nothing is lost, nothing counts twice."""

import os
import random
import signal
import subprocess
import time
import uuid

import pytest

from flwr_telemetry.record import to_wire
from tests.support import homes, processes, records, wire
from tests.support.receiving import Postgres, Serving

HOMES = int(os.environ.get("COLLECTOR_HOMES", "64"))
LEAST_KILLS = 4
SECONDS = float(os.environ.get("COLLECTOR_SECONDS", "60"))

pytestmark = [pytest.mark.heavy, pytest.mark.long]


class Home:
    """A home with a sidecar, and what was put into its spool."""

    def __init__(self, path, url):
        self.path, self.events, self._source = path, [], str(uuid.uuid4())
        path.parent.mkdir(parents=True)
        homes.configure(path, url, idle_exit_s=600, backoff_max_s=1, request_deadline_s=30)
        (path / "source").write_text(self._source)
        self.sidecar = None

    def start(self):
        """Start a sidecar unless one lives, as the next event would."""
        if self.sidecar is None or self.sidecar.poll() is not None:
            streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.sidecar = processes.start(self.path, ["-m", "flwr_telemetryd"], **streams)

    def is_done(self):
        """Whether all is delivered."""
        if not homes.unsent_files(self.path):
            return True
        self.start()
        return False

    def put(self, chance):
        """A segment with a few events of several workloads."""
        events = [
            event
            for _ in range(chance.randint(1, 3))
            for event in records.series(chance.randint(1, 4), source=self._source)
        ]
        name = f"sealed-{time.time_ns():019d}-{uuid.uuid4().hex[:8]}.msgpack"
        homes.put(self.path, events, name=name)
        self.events += events
        self.start()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_random_kills(home, tmp_path, kind):
    chance = random.Random(23)
    share = 1 if kind == "postgres" else 4
    seconds = SECONDS / share
    postgres = Postgres() if kind == "postgres" else None
    database = postgres.new_database() if postgres else str(tmp_path / "flwr.db")
    try:
        with Serving(database, tmp_path, env={**os.environ, "FLWR_HOME": ""}) as running:
            crowd = [Home(home / str(n) / ".flwr", running.url) for n in range(HOMES // share)]
            for one in crowd:
                one.put(chance)
            _kill_at_random(chance, seconds, crowd, running, postgres)
            for one in crowd:
                processes.wait_until(one.is_done, timeout_s=300)
                one.sidecar.kill()
                one.sidecar.wait()
                assert homes.rejected(one.path) == []
            found = running.events()
    finally:
        if postgres:
            postgres.__exit__()
    sent = [to_wire(event) for one in crowd for event in one.events]
    for event in found:  # the sidecar adds two figures
        for name in ("cpu_count_physical", "memory_gib"):
            event["context"]["hw"].pop(name, None)
    assert wire.bag(found) == wire.bag(sent)


def _kill_at_random(chance, seconds, crowd, running, postgres):
    """Put events, and kill."""
    until, kills = time.monotonic() + seconds, 0
    while time.monotonic() < until or kills < LEAST_KILLS:
        for one in chance.sample(crowd, min(8, len(crowd))):
            one.put(chance)
        time.sleep(chance.uniform(0.1, 1.0))
        if chance.random() < 0.3:
            kills += 1
            if postgres and chance.random() < 0.5:
                postgres.kill()
                postgres.start()
            else:
                running.stop(signal.SIGKILL)
                running.start()
