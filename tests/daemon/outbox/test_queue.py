"""Durable bodies: archived before they go, and split in a way that may die anywhere."""

import json
import os
from datetime import UTC, datetime

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox import archive
from flwr_telemetryd.outbox.body import Body, decoded
from flwr_telemetryd.outbox.queue import Queue, reject, remove
from flwr_telemetryd.outbox.queue import due as due_
from flwr_telemetryd.outbox.split import split
from tests.daemon.conftest import a_runtime, repair
from tests.support import records, wire
from tests.support.faults import amid, descriptors, fail_once, write_at_most

NOW = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
EVENTS = [to_wire(event) for event in records.series(4)]
(BURST,) = codec.coalesce(EVENTS)
KEY = wire.key_of(BURST)
MEMBERS = {wire.member_key(KEY, index): codec.dumps(event).encode() for index, event in enumerate(EVENTS)}


class DeathError(BaseException):
    """Stands for a SIGKILL."""


def put(host, data, *, batch="b1", name=None):
    """Commit a body."""
    path = host.outbox / batch / (name or f"{wire.key_of(data)}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Body(host, path)


def due(host):
    """Give the bodies that are due, by key."""
    repair(host)
    return {body.key: body.read() for body in due_(host)}


def deliver(body, data, now):
    """Do with an accepted body what a sidecar does: archive it, then let it go."""
    archive.archive(body.host, data, now)
    remove(body)


def test_what_is_due_comes_oldest_batch_first(host):
    """Bodies only, batch by batch; a batch with nothing left goes."""
    later, sooner = put(host, b'{"a":1}', batch="b2"), put(host, b'{"a":2}', batch="b1")
    put(host, b"half", batch="b1", name=".k.json.7.part")
    (host.outbox / "b0").mkdir()
    assert list(due_(host)) == [sooner, later]
    assert repair(host) == 0
    assert sorted(os.listdir(host.outbox)) == ["b1", "b2"]
    assert os.listdir(sooner.path.parent) == [sooner.path.name]


def test_a_delivered_body_is_a_line_of_the_archive(host):
    """Byte for byte, in the file of the day, and its batch goes with the last one."""
    for data in (BURST, b'{"a":1}'):
        deliver(put(host, data), data, NOW)
    assert (host.sent / "2026-11-22.jsonl").read_bytes() == BURST + b'\n{"a":1}\n'
    assert list(host.outbox.iterdir()) == []


def test_a_rejected_body_is_kept_with_its_reason(host):
    """For a look; what vanished meanwhile was somebody's success, and no word of it stays."""
    body = put(host, b"{}")
    assert reject(body, "the collector answered 400: nö")
    assert (host.rejected / f"{body.key}.json").read_bytes() == b"{}"
    assert (host.rejected / f"{body.key}.reason.txt").read_text() == "the collector answered 400: nö\n"
    assert list(host.outbox.iterdir()) == []
    gone = Body(host, host.outbox / "b1" / "gone.json")
    assert not reject(gone, "again")
    assert sorted(os.listdir(host.rejected)) == [f"{body.key}.json", f"{body.key}.reason.txt"]


def test_two_sidecars_reject_one_body(host, monkeypatch):
    """Who comes second leaves the reason of the first."""
    body = put(host, b"{}")
    amid(monkeypatch, lambda: reject(body, "theirs"), "rename")
    assert not reject(body, "ours")
    assert sorted(os.listdir(host.rejected)) == [f"{body.key}.json", f"{body.key}.reason.txt"]


def test_a_split_burst_is_its_events(host):
    """Plain bodies in order of time, under keys that depend on the burst's key and the place alone."""
    members = list(split(put(host, BURST)).members())
    assert {member.key: member.read() for member in members} == MEMBERS
    assert [member.key for member in members] == list(MEMBERS)
    assert due(host) == MEMBERS


def test_a_burst_that_somebody_else_has_split_is_let_go(host):
    """A body that is gone has no members for us."""
    body = put(host, BURST)
    body.path.unlink()
    assert list(split(body).members()) == []
    with pytest.raises(FileNotFoundError):
        body.read()


@pytest.mark.parametrize("call", ["write", "unlink", "rmdir"])
def test_race_15_death_after_the_answer(host, monkeypatch, call):
    """Race 15: before the archive, or before the unlink, the body is due again under the same key."""
    body = put(host, BURST)

    def die():
        raise DeathError

    amid(monkeypatch, die, call)
    with pytest.raises(DeathError):
        deliver(body, BURST, NOW)
    monkeypatch.undo()
    assert due(host) == ({} if call == "rmdir" else {KEY: BURST})
    lines = (host.sent / "2026-11-22.jsonl").read_bytes()
    assert lines == (b"" if call == "write" else BURST + b"\n")


def test_race_15_a_body_that_cannot_be_archived_is_kept(host, monkeypatch):
    """Race 15: archived first, so a full disk lets nothing go unrecorded."""
    body, before = put(host, BURST), descriptors()
    fail_once(monkeypatch, "write", 28)
    with pytest.raises(OSError, match="space"):
        deliver(body, BURST, NOW)
    assert due(host) == {KEY: BURST}
    assert descriptors() == before


def test_race_15_a_torn_line_of_the_archive_costs_no_other(host, monkeypatch):
    write_at_most(monkeypatch, 20, full_at_call=2)
    with pytest.raises(OSError, match="space"):
        deliver(put(host, BURST), BURST, NOW)
    monkeypatch.undo()
    deliver(put(host, BURST), BURST, NOW)
    assert BURST in (host.sent / "2026-11-22.jsonl").read_bytes().splitlines()


SPLIT_STEPS = [("rename", 1), ("open", 5), ("write", 4), ("fsync", 4), ("replace", 4), ("unlink", 1)]


@pytest.mark.parametrize(("call", "at"), [(call, at) for call, times in SPLIT_STEPS for at in range(times)])
def test_race_16_death_within_a_split(host, monkeypatch, call, at):
    """Race 16: whenever it comes, the burst is due, or exactly its members under the same keys."""
    body, left = put(host, BURST), [at]
    real = getattr(os, call)

    def dying(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            raise DeathError
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, dying)
    with pytest.raises(DeathError):
        split(body)
    monkeypatch.undo()
    assert due(host) == ({KEY: BURST} if call == "rename" else MEMBERS)
    assert due(host) == ({KEY: BURST} if call == "rename" else MEMBERS)
    assert {path.suffix for path in body.path.parent.iterdir() if not path.name.startswith(".")} == {".json"}


def test_race_16_while_a_split_file_is_there_no_member_is_due(host):
    whole = put(host, BURST, name=f"{KEY}.split").path
    put(host, b"half", name=f"{next(iter(MEMBERS))}.json")
    other = put(host, b'{"a":1}', batch="b2")
    assert list(due_(host)) == [other]
    assert repair(host) == 0
    assert not whole.exists()
    assert due(host) == {**MEMBERS, other.key: b'{"a":1}'}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        BURST[:-20],
        b'{"context":{},"burst":{}}',
        BURST.replace(b'"clusters"', b'"cluster"'),
    ],
)
def test_a_split_file_that_is_no_burst_blocks_nothing(host, data):
    """Damage on the disk costs that body, which is kept for a look, and not the sidecar."""
    put(host, data, name=f"{KEY}.split")
    put(host, b'{"a":1}', batch="b2")
    assert b'{"a":1}' in due(host).values()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b"[1]", {}),
        (b"", {}),
        (b"\xff", {}),
        (b'{"a":', {}),
        pytest.param(b"[" * 60_000, {}, id="deep"),
    ],
)
def test_decoded(data, value):
    """What is no JSON object is an empty one."""
    assert decoded(data) == value


def test_a_burst_is_archived_as_it_was_sent(host):
    """The archive's line is the body, whose key can be told from it again."""
    body = put(host, BURST)
    deliver(body, body.read(), NOW)
    (line,) = (host.sent / "2026-11-22.jsonl").read_bytes().splitlines()
    assert wire.key_of(line) == KEY
    assert json.loads(line)["burst"]["count"] == 4


def test_bodies_are_private(host, tmp_path):
    """Whatever is written on the way is 0600, below directories of 0700."""
    members = list(split(put(host, BURST)).members())
    reject(members[0], "no")
    deliver(members[1], members[1].read(), NOW)
    found = [path for room in (host.rejected, host.sent) for path in (room, *room.iterdir())] + [
        members[2].path
    ]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o700}
    written = [path for path in found if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}


def test_the_queue_gives_a_checked_body_or_quarantines_it(home, host):
    """A body that is gone, or damaged, leaves nothing to send; damage is counted."""
    runtime = a_runtime(home)
    queue = Queue(runtime)
    whole, bent = put(host, BURST), put(host, b"{}", name=f"{'0' * 64}.json")
    loaded = queue.load(whole)
    assert loaded is not None
    assert (loaded.data, loaded.event["burst"]["count"]) == (BURST, 4)
    assert queue.load(bent) is None
    assert queue.load(bent) is None
    assert runtime.state.damaged == 1
    assert len(list(host.damaged.iterdir())) == 1


def test_an_accepted_body_is_not_given_again_while_the_archive_fails(home, host, monkeypatch):
    """It is archived and removed by the next load, and counted once."""
    runtime = a_runtime(home)
    queue, body = Queue(runtime), put(host, BURST)
    loaded = queue.load(body)
    assert loaded is not None
    fail_once(monkeypatch, "write", 28)
    with pytest.raises(OSError, match="space"):
        queue.accept(loaded)
    assert body.path.exists()
    assert queue.load(body) is None
    assert not body.path.exists()
    assert runtime.state.delivered_events == 4
    assert len(list(host.sent.iterdir())) == 1


def test_the_events_of_a_refused_burst_wait_for_its_first(home, host):
    """Only the first is due, until the collector has decided on it; if it is refused, so are the others."""
    queue = Queue(runtime := a_runtime(home))
    loaded = queue.load(put(host, BURST))
    assert loaded is not None
    first, *_ = queue.reject(loaded, "no")
    assert [body.key for body in queue.due()] == [first.key]
    single = queue.load(first)
    assert single is not None
    assert list(queue.reject(single, "no")) == []
    assert list(queue.due()) == []
    assert runtime.state.rejected == 4
