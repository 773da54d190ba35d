"""Adoption: by renames, onto this host, and without the facts of this host."""

import json
import os
import shutil

import pytest

from flwr_telemetry import files, pending
from flwr_telemetry.layout import Home, whole_name
from flwr_telemetry.record import to_wire
from flwr_telemetryd.outbox import batch, discard, queue
from flwr_telemetryd.sidecar import adoption
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import OURS, THEIRS, make, whole
from tests.support import homes, processes, records, wire
from tests.support.bodies import coalesce
from tests.support.faults import amid

NODES = [f"node{number}" for number in range(5)]
LONG_AGO_S = 3600.0


@pytest.fixture
def collector(home, collector):
    """Give a collector whose address is in the settings of the home."""
    homes.configure(home, collector.url)
    return collector


def left_behind(home, host_of, numbers, **where):
    segment = homes.put(home, records.series(len(numbers), start=numbers.start), host_of=host_of, **where)
    for path in (segment, segment.parent):
        homes.age(path, LONG_AGO_S)
    return segment


def hw(collector):
    return {
        event["event_details"]["n"]: "memory_gib" in event["context"]["hw"] for event in collector.events()
    }


def test_the_events_of_all_other_hosts_become_one_body(home, collector):
    """This host's own events form another, because they hold hardware facts."""
    for number, node in enumerate(NODES):
        left_behind(home, node, range(3 * number, 3 * number + 3))
    homes.put(home, records.series(3, start=100))
    processes.deliver(home)
    assert hw(collector) == {**dict.fromkeys(range(15), False), **dict.fromkeys(range(100, 103), True)}
    assert sorted(json.loads(body)["burst"]["count"] for body in homes.sent(home)) == [3, 15]
    assert homes.unsent_files(home) == []


def silent(home, host_of):
    homes.put_bytes(home, b"", host_of=host_of)
    for path in (homes.host(home, host_of) / "spool", *(homes.host(home, host_of) / "spool").iterdir()):
        homes.age(path, LONG_AGO_S)


def commit(home, host_of, *numbers):
    events = [to_wire(records.sample({"n": number})) for number in numbers]
    bodies = list(coalesce(events, bursts=False))
    for body in bodies:
        path = homes.host(home, host_of) / "outbox" / "b1" / f"{wire.key_of(body)}.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(body)
    silent(home, host_of)
    return bodies


def test_an_outbox_is_adopted_byte_for_byte(home, collector):
    homes.put_bytes(home, b"", host_of="node")
    bodies = commit(home, "node", 1, 2)
    processes.deliver(home)
    assert sorted(request.body for request in collector.requests) == sorted(bodies)
    assert sorted(homes.sent(home)) == sorted(bodies)
    assert homes.tree(homes.host(home, "node") / "outbox") == []


@pytest.mark.parametrize("left", ["1-aa.taken", "key.split", "sealed-1-2.msgpack.9.taken"])
def test_a_batch_with_an_unfinished_step_is_not_adopted(home, left):
    """Its place tells whose segments it holds, and a rename would lose that."""
    commit(home, "node", 1)
    directory = homes.host(home, "node") / "outbox" / "b1"
    (directory / left).touch()
    Home(home).host().root.mkdir(mode=0o700)
    queue.adopt(directory, Home(home).host())
    assert directory.is_dir()
    (directory / left).rename(directory / ".nfs0001")
    queue.adopt(directory, Home(home).host())
    assert not directory.exists()


def test_an_unfinished_batch_of_another_host_is_adopted_without_hardware_facts(home, collector):
    homes.put(home, records.series(2), host_of="node", name="sealed-1-00000001.msgpack")
    node = Home(home).host("node")
    for host in (node, Home(home).host()):
        host.root.mkdir(mode=0o700, exist_ok=True)
    made = batch.take(node, THEIRS, 1)
    assert made is not None
    silent(home, "node")
    homes.age(made.path, LONG_AGO_S)
    processes.deliver(home)
    assert hw(collector) == {0: False, 1: False}


def test_an_adopted_batch_is_finished_as_an_adopted_one(home, collector):
    """After a death during an adoption, the name of the batch tells the next run."""
    left_behind(home, "node", range(2), name="sealed-1-00000001.msgpack")
    homes.put(home, records.series(1, start=100))
    made = batch.take(Home(home).host(), THEIRS, 1, [Home(home).host("node")])
    assert made is not None
    assert made.is_adopted
    processes.deliver(home)
    assert hw(collector) == {0: False, 1: False, 100: True}


@pytest.mark.parametrize("when", ["before the look", "before the unlink"])
def test_a_late_event_of_an_adopted_segment_gets_no_hardware_facts(home, collector, monkeypatch, when):
    """Races 12 and 13: it does not go to this host's spool."""
    left_behind(home, "node", range(2), name="sealed-1-00000001.msgpack")
    here = Home(home).host()
    here.root.mkdir(mode=0o700)
    made = batch.take(here, OURS, 1, [Home(home).host("node")])
    assert made is not None
    (segment,) = made.path.iterdir()
    writer = os.open(segment, os.O_WRONLY | os.O_APPEND)
    committed = make(here, made)
    late = records.encode(records.sample({"n": 2}))
    if when == "before the look":
        os.write(writer, late)
    else:
        amid(monkeypatch, lambda: os.write(writer, late), "unlink")
    discard.discard(here, committed, OURS, 9)
    monkeypatch.undo()
    os.close(writer)
    assert segments.sealed_segments(here) == []
    processes.deliver(home)
    assert hw(collector) == {0: False, 1: False, 2: False}


def test_a_host_with_a_fresh_heartbeat_is_not_adopted(home, collector):
    left_behind(home, "login2", range(1))
    heartbeat = Home(home).heartbeat("login2")
    heartbeat.write_text("{}")
    processes.deliver(home)
    assert collector.requests == []
    homes.age(heartbeat, 100)
    processes.deliver(home)
    assert hw(collector) == {0: False}


@pytest.mark.parametrize("name", ["sealed-1-00000001.msgpack", whole_name(1)], ids=["sealed", "whole"])
def test_a_wait_on_another_host_follows_an_adopted_segment(home, name):
    left_behind(home, "node", range(1), name=name)
    node, here = Home(home).host("node"), Home(home).host()
    here.root.mkdir(mode=0o700)
    waits = pending.Waiting(node)
    made = batch.take(here, OURS, 1, [node])
    assert made is not None
    assert not waits.is_over()
    committed = make(here, made)
    assert not waits.is_over()
    discard.discard(here, committed, OURS, 9)
    assert not waits.is_over()
    for body in committed.iterdir():
        body.unlink()
    assert waits.is_over()


def test_a_wait_on_another_host_follows_an_adopted_outbox_and_batch(home):
    commit(home, "node", 1)
    homes.put(home, records.series(1), host_of="node", name="sealed-1-00000001.msgpack")
    node, here = Home(home).host("node"), Home(home).host()
    here.root.mkdir(mode=0o700)
    unfinished = batch.take(node, THEIRS, 1)
    assert unfinished is not None
    both, bodies_last = pending.Waiting(node), pending.Waiting(node)
    queue.adopt(node.outbox / "b1", here)
    ours = batch.take_over(here, unfinished.path, OURS)
    assert pending.Waiting(node, adopted=False).is_over()
    shutil.copytree(ours.path, home / "kept")
    shutil.rmtree(ours.path)
    assert not bodies_last.is_over()
    shutil.copytree(home / "kept", ours.path)
    shutil.rmtree(here.outbox)
    assert not both.is_over()
    shutil.rmtree(ours.path)
    assert both.is_over()
    assert bodies_last.is_over()


NOW_S = 1_795_000_000.0
AFTER_S = 120.0


def _adoptable(home):
    found = adoption.adoptable(Home(home), homes.host_name(), AFTER_S, lambda: NOW_S)
    return sorted(due.host.name for due in found)


@pytest.mark.parametrize(
    ("age_s", "adopted"),
    [
        (0, False),
        (119, False),
        (120, True),
        (1e8, True),
        (-60, False),
        (-3600, False),
        (-3601, True),
        (-1e8, True),
    ],
)
def test_the_age_of_another_hosts_spool(home, age_s, adopted):
    """Minutes ahead are a clock of another host; years ahead are a clock that was set back since."""
    segment = homes.put(home, records.series(1), host_of="other")
    homes.put(home, records.series(1))
    for path in (segment, segment.parent):
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    assert _adoptable(home) == (["other"] if adopted else [])


@pytest.mark.parametrize(("asked", "adopted"), [(False, []), (True, ["other"])])
def test_a_host_that_asks_for_delivery(home, asked, adopted):
    """A service hears it; a sidecar on demand leaves what grows to who is there."""
    spool = homes.put(home, records.series(1), host_of="other").parent
    (spool / "flush").touch()
    for path in (*spool.iterdir(), spool):
        os.utime(path, (NOW_S, NOW_S))
    found = adoption.adoptable(Home(home), homes.host_name(), AFTER_S, lambda: NOW_S, if_asked=asked)
    assert [due.host.name for due in found] == adopted


def test_nobody_is_asked_for_the_time_where_nothing_waits(home):
    """A pass over idle hosts changes no file."""
    homes.put_bytes(home, b"", host_of="other")

    def now():
        raise AssertionError

    assert list(adoption.adoptable(Home(home), homes.host_name(), AFTER_S, now)) == []


def test_whole_segments_of_a_host_that_writes_are_adopted(home, collector):
    """Nobody appends to them. The host's other segments and its batches stay until it is quiet."""
    old, new = whole(home, 0, at_ns=1, host_of="node"), whole(home, 1, at_ns=2, host_of="node")
    other = homes.put(home, records.series(1, start=7), host_of="node", name="sealed-1-00000001.msgpack")
    bodies = commit(home, "node", 8)
    homes.age(old, LONG_AGO_S)
    (homes.host(home, "node") / "spool" / "flush").touch()
    for path in (new, new.parent):
        os.utime(path)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]
    assert sorted(path.name for path in other.parent.iterdir()) == ["events.msgpack", "flush", other.name]
    assert len(bodies) == len(homes.find(homes.host(home, "node"), "outbox/*/*.json"))


def test_young_whole_segments_of_another_host_are_left_alone(home, collector):
    segment = whole(home, 0, host_of="node")
    processes.deliver(home)
    assert (collector.requests, segment.exists()) == ([], True)


def test_what_a_host_asks_for_is_not_sealed_under_its_writers_on_a_shared_home(home):
    """They have that segment on a disk of their own, and no lock of theirs is seen here."""
    spool = homes.put(home, records.series(1), host_of="other").parent
    (spool / "flush").touch()
    now = files.now(spool / "flush")
    found = adoption.adoptable(
        Home(home), homes.host_name(), AFTER_S, lambda: now, if_asked=True, is_shared=True
    )
    assert [(due.host.name, due.is_quiet) for due in found] == [("other", False)]
