"""Adoption: by renames, onto this host, and without the facts of this host."""

import json
import os
import shutil

import pytest

from flwr_telemetry import pending
from flwr_telemetry.layout import Home, whole_name
from flwr_telemetry.record import to_wire
from flwr_telemetryd.outbox import batch, discard, queue
from flwr_telemetryd.sidecar import adoption
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import OURS, THEIRS, make, put_body, take, whole
from tests.support import homes, processes, records, wire
from tests.support.bodies import coalesce
from tests.support.faults import amid

SEALED = "sealed-1-00000001.msgpack"
LONG_AGO_S = 3600.0


@pytest.fixture
def collector(home, collector):
    """Give a collector whose address is in the settings of the home."""
    homes.configure(home, collector.url)
    return collector


@pytest.fixture
def node(home, host):
    return Home(home).host("node")


def quiet(host):
    """Let it look as if nothing of a host had changed for an hour."""
    for path in (*host.root.rglob("*"), host.root):
        homes.age(path, LONG_AGO_S)


def left_behind(host, count, *, start=0, **where):
    homes.put(host.telemetry.parent, records.series(count, start=start), host_of=host.name, **where)
    quiet(host)


def commit(host, *numbers):
    events = [to_wire(records.sample({"n": number})) for number in numbers]
    bodies = list(coalesce(events, bursts=False))
    for body in bodies:
        put_body(host, body)
    quiet(host)
    return bodies


def hw(collector):
    return {
        event["event_details"]["n"]: "memory_gib" in event["context"]["hw"] for event in collector.events()
    }


def test_the_events_of_all_other_hosts_become_one_body(home, collector):
    """This host's own events form another, because they hold hardware facts."""
    for number in range(5):
        left_behind(Home(home).host(f"node{number}"), 3, start=3 * number)
    homes.put(home, records.series(3, start=100))
    processes.deliver(home)
    assert hw(collector) == {**dict.fromkeys(range(15), False), **dict.fromkeys(range(100, 103), True)}
    assert sorted(json.loads(body)["burst"]["count"] for body in homes.sent(home)) == [3, 15]
    assert homes.unsent_files(home) == []


def test_an_outbox_is_adopted_byte_for_byte(home, node, collector):
    bodies = commit(node, 1, 2)
    processes.deliver(home)
    assert sorted(request.body for request in collector.requests) == sorted(bodies)
    assert sorted(homes.sent(home)) == sorted(bodies)
    assert homes.tree(node.outbox) == []


@pytest.mark.parametrize("left", ["1-aa.taken", "key.split", "sealed-1-2.msgpack.9.taken"])
def test_a_batch_with_an_unfinished_step_is_not_adopted(host, node, left):
    """Its place tells whose segments it holds, and a rename would lose that."""
    commit(node, 1)
    directory = node.outbox / "b1"
    (directory / left).touch()
    queue.adopt(directory, host)
    assert directory.is_dir()
    (directory / left).rename(directory / ".nfs0001")
    queue.adopt(directory, host)
    assert not directory.exists()


@pytest.mark.parametrize("is_adopted", [False, True])
def test_an_unfinished_batch_of_another_host_is_adopted_without_hardware_facts(
    home, host, node, collector, is_adopted
):
    """After a death during an adoption, the name of the batch tells the next run."""
    left_behind(node, 2, name=SEALED)
    homes.put(home, records.series(1, start=100))
    assert take(host if is_adopted else node, THEIRS, [node] * is_adopted).is_adopted is is_adopted
    quiet(node)
    processes.deliver(home)
    assert hw(collector) == {0: False, 1: False, 100: True}


@pytest.mark.parametrize("when", ["before the look", "before the unlink"])
def test_a_late_event_of_an_adopted_segment_gets_no_hardware_facts(
    home, host, node, collector, monkeypatch, when
):
    """Races 12 and 13: it does not go to this host's spool."""
    left_behind(node, 2, name=SEALED)
    made = take(host, OURS, [node])
    (segment,) = made.path.iterdir()
    late = records.encode(records.sample({"n": 2}))
    with segment.open("ab", buffering=0) as writer:
        committed = make(host, made)
        if when == "before the look":
            writer.write(late)
        with monkeypatch.context() as patch:
            if when == "before the unlink":
                amid(patch, lambda: writer.write(late), "unlink")
            discard.discard(host, committed, OURS, 9)
    assert segments.sealed_segments(host) == []
    processes.deliver(home)
    assert hw(collector) == {0: False, 1: False, 2: False}


def test_a_host_with_a_fresh_heartbeat_is_not_adopted(home, node, collector):
    left_behind(node, 1)
    heartbeat = Home(home).heartbeat("node")
    heartbeat.write_text("{}")
    processes.deliver(home)
    assert collector.requests == []
    homes.age(heartbeat, 100)
    processes.deliver(home)
    assert hw(collector) == {0: False}


@pytest.mark.parametrize("name", [SEALED, whole_name(1)], ids=["sealed", "whole"])
def test_a_wait_on_another_host_follows_an_adopted_segment(host, node, name):
    left_behind(node, 1, name=name)
    waits = pending.Waiting(node)
    made = take(host, OURS, [node])
    assert not waits.is_over()
    committed = make(host, made)
    assert not waits.is_over()
    discard.discard(host, committed, OURS, 9)
    assert not waits.is_over()
    shutil.rmtree(committed)
    assert waits.is_over()


@pytest.mark.parametrize("last", ["batch", "body"])
def test_a_wait_on_another_host_follows_an_adopted_outbox_and_batch(home, host, node, last):
    commit(node, 1)
    homes.put(home, records.series(1), host_of="node", name=SEALED)
    unfinished = take(node, THEIRS)
    waits = pending.Waiting(node)
    queue.adopt(node.outbox / "b1", host)
    ours = batch.take_over(host, unfinished.path, OURS)
    assert pending.Waiting(node, adopted=False).is_over()
    for place in (host.outbox, ours.path) if last == "batch" else (ours.path, host.outbox):
        assert not waits.is_over()
        shutil.rmtree(place)
    assert waits.is_over()


NOW_S, AFTER_S = 1_795_000_000.0, 120.0
AGES = {0: False, 119: False, 120: True, 1e8: True, -60: False, -3600: False, -3601: True, -1e8: True}


def adoptable(home, **options):
    found = adoption.adoptable(Home(home), homes.host_name(), AFTER_S, lambda: NOW_S, **options)
    return [(due.host.name, due.is_quiet) for due in found]


@pytest.mark.parametrize(("age_s", "adopted"), AGES.items())
def test_the_age_of_another_hosts_spool(home, age_s, adopted):
    """Minutes ahead are a clock of another host; years ahead are a clock that was set back since."""
    segment = homes.put(home, records.series(1), host_of="other")
    homes.put(home, records.series(1))
    for path in (segment, segment.parent):
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    assert adoptable(home) == ([("other", True)] if adopted else [])


@pytest.mark.parametrize(
    ("is_heard", "is_shared", "found"),
    [(False, False, []), (True, False, [("other", True)]), (True, True, [("other", False)])],
)
def test_a_host_that_asks_for_delivery(home, is_heard, is_shared, found):
    """A service hears it. On a shared home its open segment is not sealed, because no lock of it is seen."""
    spool = homes.put(home, records.series(1), host_of="other").parent
    (spool / "flush").touch()
    for path in (*spool.iterdir(), spool):
        os.utime(path, (NOW_S, NOW_S))
    assert adoptable(home, if_asked=is_heard, is_shared=is_shared) == found


def test_whole_segments_of_a_host_that_writes_are_adopted(home, node, collector):
    """Nobody appends to them. The host's other segments and its batches stay until it is quiet."""
    old, new = (whole(home, number, at_ns=number + 1, host_of="node") for number in range(2))
    processes.deliver(home)
    assert (collector.requests, old.exists(), new.exists()) == ([], True, True)  # both are young
    other = homes.put(home, records.series(1, start=7), host_of="node", name=SEALED)
    bodies = commit(node, 8)
    homes.age(old, LONG_AGO_S)
    (node.spool / "flush").touch()
    for path in (new, new.parent):
        os.utime(path)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]
    assert sorted(path.name for path in other.parent.iterdir()) == ["flush", other.name]
    assert len(bodies) == len(homes.find(node.root, "outbox/*/*.json"))
