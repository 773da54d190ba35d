"""Splitting a refused burst: its events get plain bodies, whenever a death comes."""

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox.split import split
from tests.daemon.conftest import a_queue, burst_of, due, put_body
from tests.support import records, wire
from tests.support.faults import DeathError, die

EVENTS = records.series(4)
BURST = burst_of(EVENTS)
KEY = wire.key_of(BURST)
MEMBERS = {
    wire.member_key(KEY, index): codec.dumps(to_wire(event)).encode() for index, event in enumerate(EVENTS)
}


def test_a_split_burst_is_its_events(host):
    """None if another sidecar has split it."""
    body = put_body(host, BURST)
    body.path.unlink()
    assert list(split(body).members()) == []
    members = list(split(put_body(host, BURST)).members())
    assert {member.key: member.read() for member in members} == MEMBERS
    assert [member.key for member in members] == list(MEMBERS)
    assert due(host) == MEMBERS


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
