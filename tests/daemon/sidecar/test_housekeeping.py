"""Empty directories of hosts that are gone."""

import fcntl
import os
import shutil

import pytest

from flwr_telemetry import spool
from flwr_telemetry.layout import Home
from flwr_telemetryd.sidecar import housekeeping
from flwr_telemetryd.state import State
from tests.support import homes, processes, records
from tests.support.faults import amid

AFTER_S = 600.0
STATE_FILES = {
    "sidecar.json": '{"pid": 9, "mode": "on demand", "ended": "", "delivered_events": 7, "rejected": 2}',
    "sidecar.lock": "started\n",
    "sidecar.log": "words\n",
    "sidecar.log.1": "older words\n",
    "not-before": "3600\n",
    "dropped": "\0\0\0",
    ".sidecar.json.9.part": "half",
    "spool/flush": "",
    "spool/events.msgpack": "",
}


@pytest.fixture
def node(home):
    host = Home(home).host("node")
    for room in host.directories:
        room.mkdir(mode=0o700, parents=True)
    for directory in (host.telemetry, host.root):
        directory.chmod(0o700)
    for name, words in STATE_FILES.items():
        (host.root / name).write_text(words)
        (host.root / name).chmod(0o600)
    Home(home).host().root.mkdir(mode=0o700)
    long_ago(host)
    return host


def long_ago(host):
    for path in (*host.root.rglob("*"), host.root):
        homes.age(path, 3600)


def prune(home, state=None):
    os.utime(home)
    now = os.stat(home).st_mtime
    return housekeeping.prune_hosts(Home(home), Home(home).host(), state or State(), AFTER_S, now)


def test_an_empty_host_is_deleted_and_its_counters_are_added(home, node):
    state = State(delivered_events=1)
    assert prune(home, state) == ["node"]
    assert not node.root.exists()
    assert (state.delivered_events, state.rejected) == (8, 2)
    assert ((homes.host(home) / "dropped").read_bytes(), prune(home, state)) == (bytes(3), [])


KEPT = [
    "spool/events.msgpack",
    "spool/sealed-1-00000001.msgpack",
    "spool/.nfs000000000001",
    "work/b.1/x",
    "outbox/b/k.json",
    "sent/2026-11-22.jsonl",
    "rejected/k.json",
    "damaged/d",
    "notes.txt",
]


@pytest.mark.parametrize("name", KEPT)
def test_a_host_with_any_other_file_stays(home, node, name):
    path = node.root / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(records.encode(records.sample({"n": 0})))
    long_ago(node)
    before = homes.tree(node.root)
    assert prune(home) == []
    assert path.stat().st_size
    if name not in {"notes.txt", "spool/.nfs000000000001"}:  # where it shows only when all else is gone
        assert homes.tree(node.root) == before


HARM = {
    "others can write to it": lambda node: node.spool.chmod(0o777),
    "fresh heartbeat": lambda node: (node.telemetry / "service-node.json").write_text("{}"),
    "link": lambda node: node.root.rename(node.telemetry / "../x") and node.root.symlink_to("../x"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_host_that_may_be_in_use_is_not_gone(home, node, harm):
    harm(node)
    assert prune(home) == []
    assert node.events.exists()
    assert len(homes.tree(node.root)) >= len(STATE_FILES)


def test_an_event_that_comes_after_the_check_keeps_its_segment(home, node, monkeypatch):
    amid(monkeypatch, lambda: homes.put(home, records.series(1), host_of="node"), "unlink")
    assert prune(home) == []
    assert node.events.stat().st_size


@pytest.mark.parametrize("lately", ["spool", "sidecar.json", "spool/flush", "sent", ""])
def test_a_host_that_changed_lately_is_not_gone(home, node, lately):
    homes.age(node.root / lately, -3600 + 300)
    assert prune(home) == []
    assert node.spool.is_dir()


def test_a_host_with_a_sidecar_is_not_gone(home, node):
    with node.lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert prune(home) == []
    assert prune(home) == ["node"]


@pytest.mark.parametrize("at", range(8))
def test_an_event_that_comes_during_the_deletion_is_kept(home, node, monkeypatch, at):
    calls = [0]

    def come():
        calls[0] += 1
        if calls[0] == at + 1:
            with monkeypatch.context() as patch:
                patch.setattr(os, "rmdir", real)
                homes.put(home, records.series(1), host_of="node", name="late.msgpack")

    real = os.rmdir

    def rmdir(path):
        come()
        real(path)

    monkeypatch.setattr(os, "rmdir", rmdir)
    prune(home)
    monkeypatch.undo()
    if calls[0] > at:
        assert (homes.host(home, "node") / "spool" / "late.msgpack").stat().st_size


def test_a_writer_whose_directories_are_deleted_makes_them_again(home, node, monkeypatch):
    shutil.rmtree(node.root)
    amid(monkeypatch, lambda: shutil.rmtree(node.root), "open")
    writer = spool.Writer(node, lambda: True, lambda: None)
    frame = records.encode(records.sample({"n": 0}))
    writer.append(frame, 1e9)
    writer.close()
    assert node.events.read_bytes() == frame


def test_a_sidecar_deletes_hosts_that_are_gone(home, node, collector):
    homes.configure(home, collector.url, adopt_after_s=60)
    homes.put(home, records.series(2))
    processes.deliver(home)
    assert not node.root.exists()
    assert State.load(Home(home).host()).delivered_events == 9
