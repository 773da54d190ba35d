"""Commands on a network file system, where a request that was sent twice is told as if nothing was there."""

import json
import subprocess
import sys

import pytest

from tests.support import homes, hosts, netfs, processes, wire
from tests.support.netfs import Traits

pytestmark = pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())

ASKS = processes.PRELUDE + 'assert outcome(event("PING")) == "spooled"; print(flush(timeout=50))'


@pytest.fixture
def mount(home, tmp_path):
    """Mount the home where every rename and removal is done, and answered by ENOENT."""
    home.mkdir(mode=0o700)
    with netfs.mounted(home, tmp_path / "mount", Traits(retransmit=1)) as mount:
        yield mount


def do(mount, *words):
    """Run a command, which must end well; what it printed."""
    done = processes.command(mount, *words)
    assert (done.returncode, done.stderr) == (0, ""), words
    return done.stdout


def test_what_a_person_asks_for_is_done(home, mount, collector):
    """Nothing of it is told to have failed: delivering, forgetting, switching off and on."""
    for _ in range(2):
        processes.spool_events(mount, 3)
        do(mount, "flush")
        assert homes.unsent_files(home) == []
    source = do(mount, "source").split()[0]
    assert source in {json.loads(line)["context"]["source"] for line in homes.sent(home)}
    processes.spool_events(mount, 3)
    do(mount, "forget", "--yes")
    assert not (home / "source").exists()
    assert [path for path in home.rglob("*") if path.is_file() and source in path.read_text("latin-1")] == []
    processes.spool_events(mount, 2)
    do(mount, "disable")
    assert "enabled = false" in homes.config_file(home).read_text()
    assert list(home.rglob("*.purged")) == homes.unsent_files(home) == []
    do(mount, "enable")
    processes.spool_events(mount, 2)
    do(mount, "flush")
    assert wire.bag(collector.events()).total() == 8


def test_what_a_sidecar_deletes_when_the_user_says_no(home, mount):
    """It also deletes the files that it renamed, because no other process comes after it."""
    homes.configure(home, "http://127.0.0.1:9/")
    processes.spool_events(mount, 2)
    homes.configure(home, "http://127.0.0.1:9/", enabled=False)
    processes.once(mount)
    assert list(home.rglob("*.purged")) == homes.unsent_files(home) == []


def test_a_workload_that_asks_for_delivery_is_heard(home, mount, collector):
    """Its call is gone when a sidecar is told that there was none; the burst window would be an hour."""
    homes.configure(home, collector.url, burst_window_s=3600)
    done = processes.run(mount, ["-c", ASKS])
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_no_on_one_host_ends_a_service_on_another(home, tmp_path, collector):
    """The service sees it when its cache of the file expires; then nothing is sent, written or left."""
    homes.configure(home, collector.url, burst_window_s=3600)
    traits = Traits(cache_s=1, stale="moved")
    with (
        netfs.mounted(home, tmp_path / "login1", traits) as one,
        netfs.mounted(home, tmp_path / "login2", traits) as other,
    ):
        words = hosts.on("login2", [sys.executable, "-m", "flwr_telemetryd", "--service"])
        with subprocess.Popen(words, env=processes.environment(other), stderr=subprocess.PIPE) as service:
            processes.wait_until((homes.telemetry(home) / "service-login2.json").exists)
            with processes.reporter(other, processes.NEVER) as emit:
                assert emit() == "spooled"
                off = hosts.on("login1", [sys.executable, "-m", "flwr_telemetryd.cli", "disable"])
                done = processes.program(one, off)
                assert "Traceback" not in done.stderr
                processes.wait_until(lambda: emit() == "disabled")
            assert b"Traceback" not in service.stderr.read()
            assert service.wait(processes.PATIENCE_S) == 3
        processes.command(one, "disable")  # what a writer with a memory had spooled meanwhile goes with this
    assert collector.requests == []
    assert homes.unsent_files(home) == []


def test_a_file_is_relayed_from_such_a_home(home, mount, tmp_path, collector):
    """Each body is delivered once, and recorded there."""
    node, file = tmp_path / "node", tmp_path / "out.jsonl"
    homes.configure(node, f"file://{file}", bursts=False)
    processes.spool_events(node, 3)
    processes.deliver(node)
    homes.configure(home, collector.url)
    do(mount, "relay", str(file))
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert len(collector.requests) == 3
