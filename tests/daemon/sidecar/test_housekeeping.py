"""Hosts that are gone: they leave their archive to a common one, and their directories are deleted."""

import fcntl
import itertools
import os
import time

import pytest

from flwr_telemetry.layout import Home, whole_name
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.sidecar import housekeeping
from flwr_telemetryd.state import State
from tests.daemon.conftest import a_runtime
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
    runtime = a_runtime(home)
    if state is not None:
        runtime = runtime._replace(state=state)
    return housekeeping.prune_hosts(runtime, AFTER_S)


def test_an_empty_host_is_deleted_and_its_counters_are_added(home, node):
    state = State(delivered_events=1)
    assert prune(home, state) == ["node"]
    assert not node.root.exists()
    assert (state.delivered_events, state.rejected) == (8, 2)
    assert ((homes.host(home) / "dropped").read_bytes(), prune(home, state)) == (bytes(3), [])


def put(name):
    def make(node):
        path = node.root / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(records.encode(records.sample({"n": 0})))
        long_ago(node)

    return make


def touch(name):
    return lambda node: homes.age(node.root / name, -3600 + 300)


WAITING = "spool/events.msgpack spool/sealed-1-00000001.msgpack work/b.1/x outbox/b/k.json".split()
FOREIGN = ["notes.txt", "spool/.nfs000000000001"]
"""Files of others, which are noticed only when nothing else is left."""
REASONS = {
    **{name: put(name) for name in (*WAITING, *FOREIGN)},
    **{f"{name} changed": touch(name) for name in ("spool", "sidecar.json", "spool/flush", "sent", ".")},
    "others can write to it": lambda node: node.spool.chmod(0o777),
    "fresh heartbeat": lambda node: (node.telemetry / "service-node.json").write_text("{}"),
    "link": lambda node: node.root.rename(node.telemetry / "../x") and node.root.symlink_to("../x"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_host_that_may_be_in_use_stays(home, node, reason):
    REASONS[reason](node)
    before = homes.tree(node.root)
    assert prune(home) == []
    if reason in FOREIGN:
        assert (node.root / reason).stat().st_size
    else:
        assert homes.tree(node.root) == before


def test_a_host_with_a_sidecar_or_an_event_that_comes_after_the_check_is_not_gone(home, node, monkeypatch):
    with node.lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert prune(home) == []
    with monkeypatch.context() as patch:
        amid(patch, lambda: homes.put(home, records.series(1), host_of="node"), "unlink")
        assert prune(home) == []
    assert node.events.stat().st_size


@pytest.mark.parametrize("at", range(8))
def test_an_event_that_comes_during_the_deletion_is_kept(home, node, monkeypatch, at):
    """The numbers of calls that there are not end in a deletion."""
    came = []

    def come():
        came.append(homes.put(home, records.series(1), host_of="node", name="late.msgpack"))

    amid(monkeypatch, come, "rmdir", after=at)
    prune(home)
    assert came or at >= 6
    assert all(path.stat().st_size for path in came)


def test_a_sidecar_deletes_hosts_that_are_gone_and_old_heartbeats_of_services_that_were_killed(
    home, node, collector
):
    """A pod has a new name each time, and each look of an event would read all of the heartbeats."""
    homes.configure(home, collector.url, adopt_after_s=60)
    old, new = Home(home).heartbeat("pod1"), Home(home).heartbeat("pod2")
    for path, age_s in ((old, 86_500), (new, 86_300)):
        path.write_text("{}")
        homes.age(path, age_s)
    homes.put(home, records.series(2))
    processes.deliver(home)
    assert (node.root.exists(), old.exists(), new.exists()) == (False, False, True)
    assert State.load(Home(home).host()).delivered_events == 9


def many_hosts(home, count):
    """Give hosts that have an archive of two days, a rejected body and damage."""
    homes.put_bytes(home, b"")  # the home exists
    hosts = [Home(home).host(f"node{number}") for number in range(count)]
    for number, host in enumerate(hosts):
        kept = {f"sent/2026-11-0{day}.jsonl": b'{"host":%d,"day":%d}\n' % (number, day) for day in (1, 2)}
        names = (f"rejected/{number}.json", f"rejected/{number}.reason.txt", "damaged/d.bin")
        kept |= dict.fromkeys(names, b"%d" % number)
        for name, data in kept.items():
            path = host.root / name
            path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
        host.root.chmod(0o700)
        long_ago(host)
    return hosts


def test_hosts_that_are_gone_leave_their_archives_to_a_common_one(home):
    hosts = many_hosts(home, 3)
    assert sorted(prune(home)) == [host.name for host in hosts]
    common = Home(home).gone_hosts
    for day in (1, 2):
        lines = sorted((common.sent / f"2026-11-0{day}.jsonl").read_bytes().splitlines())
        assert lines == [b'{"host":%d,"day":%d}' % (number, day) for number in range(3)]
    assert homes.contents(common.rejected) == {
        f"{number}{suffix}": b"%d" % number for number in range(3) for suffix in (".json", ".reason.txt")
    }
    assert sorted(homes.contents(common.damaged).values()) == [b"0", b"1", b"2"]
    # The caps go by the age of the latest line, and the archive itself is no host that is gone.
    assert time.time() - (common.sent / "2026-11-01.jsonl").stat().st_mtime > 3000
    long_ago(common)
    assert prune(home) == []


def test_the_work_on_hosts_that_are_gone_is_bounded(home, monkeypatch):
    """Ten thousand of them must not make one run of a sidecar long; the next call goes on."""
    monkeypatch.setattr(housekeeping, "_AT_ONCE", 2)
    hosts = many_hosts(home, 7)
    rounds = []
    while any(host.root.exists() for host in hosts):
        ticks = itertools.count(step=housekeeping.PRUNE_S / 2)
        clock = Clock(monotonic=lambda ticks=ticks: next(ticks))
        runtime = a_runtime(home, clock=clock)
        rounds.append(len(housekeeping.prune_hosts(runtime, AFTER_S)))
    assert rounds == [2, 2, 2, 1]
    hosts = many_hosts(home, 5)
    monkeypatch.setattr(housekeeping, "PRUNE_HOSTS", 3)
    assert [len(prune(home)) for _ in range(3)] == [4, 1, 0]
    many_hosts(home, 3)
    runtime = a_runtime(home)._replace(checkpoint=lambda: False)
    assert housekeeping.prune_hosts(runtime, AFTER_S) == []  # nothing is written after an opt-out


def test_a_host_with_a_file_that_cannot_be_read_stops_no_other(home):
    first, second = many_hosts(home, 2)
    (first.sent / "2026-11-03.jsonl").symlink_to("/etc/passwd")
    os.utime(first.sent, (0, 0))
    assert prune(home) == ["node1"]
    assert [path.name for path in first.sent.iterdir()] == ["2026-11-03.jsonl"]
    assert not second.root.exists()


def test_a_service_tells_copies_of_its_machine_that_it_still_runs(home, node):
    runtime = a_runtime(home)._replace(is_shared=True)
    machine = Home(home).host().machine
    machine.write_text("claimed\n")
    homes.age(machine, 3600)
    housekeeping.Housekeeping(runtime, None).write_heartbeat()
    assert time.time() - machine.stat().st_mtime < 1800
    assert machine.read_text() == "claimed\n"


@pytest.mark.parametrize(("age_s", "is_deleted"), [(82_000, False), (86_401, True)])
def test_a_draft_whose_writer_died_goes_after_a_day(home, node, age_s, is_deleted):
    """Until then a stopped writer may rename it, so that it becomes a segment."""
    draft = node.spool / f".{whole_name(1)}.part"
    draft.write_bytes(records.encode(records.sample()))
    long_ago(node)
    homes.age(draft, age_s - 3600)
    assert prune(home) == (["node"] if is_deleted else [])
    assert draft.exists() is not is_deleted
