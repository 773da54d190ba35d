"""The common archive of hosts that are gone: each line once, whenever a death comes."""

import fcntl
import os

import pytest

from flwr_telemetry.layout import Home, host_name
from flwr_telemetry.record import to_wire
from flwr_telemetryd.admin import forget
from flwr_telemetryd.burst import codec
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.inspect.follow import Follower
from flwr_telemetryd.inspect.status import read_status
from flwr_telemetryd.outbox import archive, common, forgotten, purge
from tests.support import homes, records, wire
from tests.support.faults import DeathError, die

GONE = "00000000-6bd5-4d6b-8a3c-6f2f60f0c9d1"
LINES = [codec.dumps(to_wire(event)).encode() for event in records.series(6)]
DAY = "2026-11-22.jsonl"


def put(host, *lines, name=DAY, torn=b""):
    path = host.sent / name
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines) + torn)
    for each in (host.telemetry, host.root, host.sent):
        each.chmod(0o700)
    path.chmod(0o600)
    return path


@pytest.fixture
def nodes(home):
    return [Home(home).host(name) for name in ("a", "b", "c")]


def in_common(home, name=DAY):
    return (Home(home).gone_hosts.sent / name).read_bytes().splitlines()


def test_no_host_has_the_name_of_the_archive(home, monkeypatch):
    name = Home(home).gone_hosts.name
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", name, "", "", "")))
    assert host_name() != name


STEPS = [("write", 4), ("fsync", 1), ("utime", 1), ("unlink", 3)]


@pytest.mark.parametrize(("call", "at"), [(call, at) for call, times in STEPS for at in range(times)])
def test_race_17_death_while_archives_are_taken_in(home, nodes, monkeypatch, call, at):
    """Race 17: each line is in the common archive once; no line is ever in no file."""
    for node, lines in zip(nodes, (LINES[:2], LINES[2:3], LINES[3:]), strict=True):
        put(node, *lines)
    die(monkeypatch, call, at)
    with pytest.raises(DeathError):
        common.take_in(Home(home), nodes)
    monkeypatch.undo()
    found = {line for path in homes.find(home, "**/*.jsonl") for line in path.read_bytes().splitlines()}
    assert set(LINES) <= found
    assert common.take_in(Home(home), nodes)
    assert sorted(in_common(home)) == sorted(LINES)
    assert [path for node in nodes for path in node.sent.iterdir()] == []


def test_a_torn_line_costs_no_other_and_what_was_forgotten_is_not_taken_in(home, nodes):
    target = put(Home(home).gone_hosts, LINES[0], torn=LINES[1][:9])
    os.utime(target, (5, 5))
    forgotten.add(Home(home), GONE)
    gone = codec.dumps(to_wire(records.sample({}, source=GONE))).encode()
    source = put(nodes[0], gone, LINES[1], torn=LINES[2][:9])
    os.utime(source, (7, 7))
    assert common.take_in(Home(home), nodes)
    assert in_common(home) == [LINES[0], LINES[1][:9], LINES[1]]
    assert target.stat().st_mtime == 7
    assert not source.exists()


def test_one_process_at_a_time(home, nodes):
    path = put(nodes[0], LINES[0])
    lock = Home(home).gone_hosts.lock
    lock.parent.mkdir(mode=0o700)
    with lock.open("w") as held:
        lock.chmod(0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not common.take_in(Home(home), nodes)
        assert path.exists()
    assert common.take_in(Home(home), nodes)


def test_a_file_that_is_replaced_meanwhile_loses_nothing(home, nodes, monkeypatch):
    """A cap may shorten the common file; the source stays, and the next call goes on."""
    target, source = put(Home(home).gone_hosts, LINES[0]), put(nodes[0], LINES[1])
    real = os.fsync

    def replace(descriptor):
        real(descriptor)
        put(Home(home).gone_hosts, LINES[2], name="new").rename(target)

    monkeypatch.setattr(os, "fsync", replace)
    common.take_in(Home(home), nodes)
    monkeypatch.undo()
    assert source.exists()
    common.take_in(Home(home), nodes)
    assert in_common(home) == [LINES[2], LINES[1]]


def test_everybody_finds_the_archive(home, nodes):
    """`status`, `inspect`, `forget` and `disable` do, and `inspect --follow` shows no line twice."""
    follower = Follower(Home(home), "sent")
    put(nodes[0], *LINES[:3])
    assert len([*follower.new_items()]) == 3
    common.take_in(Home(home), nodes)
    assert [*follower.new_items()] == []
    put(nodes[1], *LINES[3:])
    assert len([*follower.new_items()]) == 3
    assert len([*Follower(Home(home), "sent").new_items()]) == 6
    sent = read_status(Home(home), {}).public()["totals"]["sent"]
    assert (sent["bodies"], sent["events"]) == (6, 6)
    purge.everything_but_sent(Home(home))
    assert len(in_common(home)) == 3
    erased, problems = forget.forget_id(Home(home), records.sample()["context"]["source"], Clock())
    assert (erased.sent, problems) == (6, [])
    assert homes.find(home, "**/*.jsonl") == []


def test_on_a_shared_home_each_file_moves_as_it_is(home, nodes):
    """Two machines may do this at once, so neither appends to a file."""
    for number, node in enumerate(nodes):
        put(node, LINES[number])
        put(node, LINES[number + 3], name="2026-11-23.jsonl")
    assert common.take_in(Home(home), nodes[:2], is_shared=True)
    assert common.take_in(Home(home), nodes, is_shared=True)
    found = homes.find(Home(home).gone_hosts.sent, "*.jsonl")
    assert [path.name[:11] for path in found] == ["2026-11-22."] * 3 + ["2026-11-23."] * 3
    assert sorted(path.read_bytes().rstrip() for path in found) == sorted(LINES)
    assert not Home(home).gone_hosts.lock.exists()


def test_receipts_move_with_their_bodies_on_a_shared_home(home, nodes):
    """Each file has a name of its own, and its receipts have that name, too. None is left alone."""
    at = "2026-11-22T10:00:00+00:00"
    for node, line in zip(nodes, LINES, strict=False):
        node.root.mkdir(parents=True, exist_ok=True)
        archive.archive(node, line, archive.Receipt(wire.key_of(line), at, 200, f"https://{node.name}/"))
    put(nodes[0], b"{}", name="2026-11-23.receipts.jsonl")
    assert common.take_in(Home(home), nodes, is_shared=True)
    assert [path for node in nodes for path in node.sent.iterdir()] == []
    days = archive.archive_files(Home(home).gone_hosts)
    bodies = [(day, line) for day in days for line in day.read_bytes().splitlines()]
    found = {line: archive.Receipts(day).of(line).to for day, line in bodies}
    assert found == {line: f"https://{node.name}/" for node, line in zip(nodes, LINES, strict=False)}
    assert {archive.Receipts(day).last_sent() for day in days} == {at}
    shown = [item.receipt.to for item in Follower(Home(home), "sent").new_items()]
    assert sorted(shown) == sorted(found.values())
