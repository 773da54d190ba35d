"""The queue: it gives checked bodies, archives them before they go, and keeps the refused ones."""

import os
import shutil

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox import archive, forgotten
from flwr_telemetryd.outbox.pieces import Refusal
from flwr_telemetryd.outbox.queue import Queue
from flwr_telemetryd.outbox.split import split
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import a_queue, a_runtime, burst_of, due, put_body
from tests.support import records, wire
from tests.support.faults import DeathError, amid, descriptors, die, fail_once

EVENTS = records.series(4)
BURST = burst_of(EVENTS)
KEY = wire.key_of(BURST)
PLAIN, OTHER = (codec.dumps(to_wire(event)).encode() for event in EVENTS[:2])


def loaded(queue, host, data, **where):
    return queue.load(put_body(host, data, **where))


def test_what_is_due_comes_oldest_batch_first(host):
    queue = a_queue(host)
    later, sooner = put_body(host, PLAIN, batch="b2"), put_body(host, OTHER, batch="b1")
    put_body(host, b"half", batch="b1", name=".k.json.7.part")
    (host.outbox / "b0").mkdir()
    assert list(queue.due()) == [sooner, later]
    queue.repair(host)
    assert sorted(os.listdir(host.outbox)) == ["b1", "b2"]
    assert os.listdir(sooner.path.parent) == [sooner.path.name]


def test_a_body_that_is_gone_or_damaged_leaves_nothing_to_send(home, host):
    queue = Queue(runtime := a_runtime(home))
    bent = put_body(host, b"{}", name=f"{'0' * 64}.json")
    whole = loaded(queue, host, BURST)
    assert (whole.data, whole.event["burst"]["count"]) == (BURST, 4)
    assert queue.load(bent) is None
    assert queue.load(bent) is None
    assert runtime.state.damaged == 1
    assert [path.name for path in host.damaged.iterdir()] == [bent.path.name]


@pytest.mark.parametrize("call", ["write", "unlink", "rmdir"])
def test_race_15_death_after_the_answer(host, monkeypatch, call):
    """Race 15: before the archive, or before the unlink, the body is due again under the same key."""
    queue = a_queue(host)
    body = loaded(queue, host, BURST)
    die(monkeypatch, call, 0)
    with pytest.raises(DeathError):
        queue.accept(body, status=200, url="https://x/")
    monkeypatch.undo()
    assert due(host) == ({} if call == "rmdir" else {KEY: BURST})
    (day,) = archive.archive_files(host)
    assert day.read_bytes() == (b"" if call == "write" else BURST + b"\n")


def test_race_15_a_body_that_cannot_be_archived_is_kept_and_not_given_again(home, host, monkeypatch):
    """Race 15: a full disk lets nothing go unrecorded; the next load archives it, and it is counted once."""
    queue = Queue(runtime := a_runtime(home))
    body, before = loaded(queue, host, BURST), descriptors()
    fail_once(monkeypatch, "write", 28)
    with pytest.raises(OSError, match="space"):
        queue.accept(body, status=200, url="https://x/")
    assert descriptors() == before
    assert due(host) == {KEY: BURST}
    assert queue.load(body.body) is None
    assert due(host) == {}
    assert runtime.state.delivered_events == 4
    (day,) = archive.archive_files(host)
    assert day.read_bytes() == BURST + b"\n"


def test_a_rejected_body_is_kept_with_its_reason(home, host, monkeypatch):
    """If another sidecar has settled it meanwhile, no reason stays. If two reject one, it is counted once."""
    queue = Queue(runtime := a_runtime(home))
    assert queue.reject(loaded(queue, host, PLAIN), "the collector answered 400: nö") == ()
    key = wire.key_of(PLAIN)
    assert (host.rejected / f"{key}.json").read_bytes() == PLAIN
    assert (host.rejected / f"{key}.reason.txt").read_text() == "the collector answered 400: nö\n"
    assert list(host.outbox.iterdir()) == []
    gone = loaded(queue, host, OTHER)
    gone.body.path.unlink()
    queue.reject(gone, "again")
    files = [f"{key}.json", f"{key}.reason.txt"]
    assert (sorted(os.listdir(host.rejected)), runtime.state.rejected) == (files, 1)
    shutil.rmtree(host.rejected)
    body, theirs = loaded(queue, host, PLAIN), a_queue(host)
    amid(monkeypatch, lambda: theirs.reject(body, "theirs"), "rename")
    queue.reject(body, "ours")
    assert (sorted(os.listdir(host.rejected)), runtime.state.rejected) == (files, 1)


def test_the_events_of_a_refused_burst_wait_for_its_first(home, host):
    """If the first is refused, so are the others."""
    queue = Queue(runtime := a_runtime(home))
    first, *_ = queue.reject(loaded(queue, host, BURST), "no")
    assert [body.key for body in queue.due()] == [first.key]
    assert [*queue.reject(queue.load(first), "no"), *queue.due()] == []
    assert runtime.state.rejected == 4


@pytest.mark.parametrize("settle", ["load", "accept", "reject"])
def test_a_body_of_a_forgotten_source_goes_without_a_trace(home, host, settle):
    """Before the request it is not given. If it is forgotten during the request, no copy of it is kept."""
    queue = Queue(runtime := a_runtime(home))
    body = loaded(queue, host, BURST)
    forgotten.add(runtime.home, EVENTS[0]["context"]["source"])
    if settle == "load":
        assert queue.load(body.body) is None
    elif settle == "accept":
        queue.accept(body, status=200, url="https://x/")
    else:
        queue.reject(body, "no")
    assert due(host) == {}
    assert not any(list(directory.glob("*")) for directory in (host.outbox, host.sent, host.rejected))


def test_a_batch_that_did_not_change_is_not_read_again(host, monkeypatch):
    """An outage with a hundred thousand bodies costs a pass nothing."""
    body = put_body(host, PLAIN)
    queue, directory = a_queue(host), body.path.parent
    queue.repair(host)
    listed, real = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    queue.repair(host)
    assert directory not in listed
    (directory / f"{segments.sealed_name(1)}.0.taken").touch(mode=0o600)
    for _ in range(3):
        queue.repair(host)
    assert [path.name for path in directory.iterdir()] == [body.path.name]
    assert directory in listed
    body.path.unlink()
    queue.repair(host)
    assert not directory.exists()


def test_a_split_within_one_tick_of_the_clock_is_found(host):
    """The time of the directory does not show it, but the next delivery does."""
    body = put_body(host, burst_of(records.series(2)))
    directory = body.path.parent
    put_body(host, PLAIN)
    queue = a_queue(host)
    queue.repair(host)
    known = directory.stat()
    body.path.rename(body.path.with_suffix(".split"))
    os.utime(directory, ns=(known.st_atime_ns, known.st_mtime_ns))
    queue.repair(host)
    assert [*queue.due()] == []
    queue.repair(host)
    assert len([*queue.due()]) == 3


def test_a_body_that_was_refused_in_part_is_archived_and_rejected_in_pieces(home, host, monkeypatch):
    """A full disk repeats the steps that are left, and only those; each event is kept once."""
    queue = Queue(runtime := a_runtime(home))
    body = loaded(queue, host, BURST)
    fail_once(monkeypatch, "fsync", 28)
    with pytest.raises(OSError, match="space"):
        queue.accept(body, status=200, url="https://x/", refusals=[Refusal(1, 2, 1, "no")])
    assert due(host) == {KEY: BURST}
    assert queue.load(body.body) is None
    assert due(host) == {}
    assert (runtime.state.delivered_events, runtime.state.rejected) == (3, 1)
    events = wire.expand(BURST)
    (day,) = archive.archive_files(host)
    lines = day.read_bytes().splitlines()
    assert [wire.expand(line) for line in lines] == [events[:1], events[3:]]
    kept = host.rejected / f"{KEY}.1.json"
    assert wire.expand(kept.read_bytes()) == events[1:3]
    assert (host.rejected / f"{KEY}.1.reason.txt").read_text() == "no\n"
    receipts = archive.Receipts(day)
    assert [receipts.of(line).key for line in lines] == [f"{KEY}.0", f"{KEY}.3"]


# A refused burst

MEMBERS = {
    wire.member_key(KEY, index): codec.dumps(to_wire(event)).encode() for index, event in enumerate(EVENTS)
}


STEPS = [("rename", 1), ("open", 5), ("write", 4), ("fsync", 4), ("replace", 4), ("unlink", 1)]


@pytest.mark.parametrize(("call", "at"), [(call, at) for call, times in STEPS for at in range(times)])
def test_race_16_death_within_a_split(host, monkeypatch, call, at):
    """Race 16: whenever it comes, the burst is due, or exactly its members under the same keys."""
    body = put_body(host, BURST)
    die(monkeypatch, call, at)
    with pytest.raises(DeathError):
        split(body)
    monkeypatch.undo()
    for _ in range(2):
        assert due(host) == ({KEY: BURST} if call == "rename" else MEMBERS)
    left = (path.suffix for path in body.path.parent.iterdir() if not path.name.startswith("."))
    assert set(left) == {".json"}


def test_race_16_while_a_split_file_is_there_no_member_is_due(host):
    """Race 16: the next sidecar splits it again, whatever lies beside it."""
    whole = put_body(host, BURST, name=f"{KEY}.split").path
    put_body(host, b"half", name=f"{next(iter(MEMBERS))}.json")
    other = put_body(host, b'{"a":1}', batch="b2")
    assert [body.key for body in a_queue(host).due()] == [other.key]
    assert due(host) == {**MEMBERS, other.key: b'{"a":1}'}
    assert not whole.exists()
