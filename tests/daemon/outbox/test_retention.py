"""Caps by size and by age: the oldest goes first, and every event that is dropped is counted."""

import os

import pytest

from flwr_telemetry import files
from flwr_telemetry.layout import Home, whole_name
from flwr_telemetry.record import to_wire
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox import archive, retention
from flwr_telemetryd.spool import segments
from tests.daemon.conftest import EVENTS, FRAMES, begin_again
from tests.support import homes
from tests.support.bodies import coalesce
from tests.support.faults import DeathError, amid, die
from tests.support.wire import key_of

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
MIB = 1024 * 1024
(BURST,) = coalesce([to_wire(event) for event in EVENTS[:4]])
PLAIN = codec.dumps(to_wire(EVENTS[4])).encode()


def put(path, data, age_s=0):
    """Put a file in place that was last touched so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def sealed(host, count, age_s, *, offset=0):
    return put(host.spool / segments.sealed_name(1, offset), b"".join(FRAMES[:count]), age_s)


def enforce(home, **limits):
    return retention.enforce(Home(home), Limits(**limits), NOW_S)


def kept(paths):
    return [path.exists() for path in paths]


def dropped(host):
    return host.dropped.read_bytes() if host.dropped.exists() else b""


def test_what_is_too_old_goes_and_is_counted(home, host):
    """Segments, bodies and bursts, each by its events; damage counts nothing. The future has no age."""
    old = 14 * DAY_S + 1
    young = [sealed(host, 3, old - 2), sealed(host, 1, -old), put(host.outbox / "b/k3.json", PLAIN, old - 2)]
    gone = {
        sealed(host, 2, old): 2,
        sealed(host, 3, old, offset=len(FRAMES[0])): 2,
        put(host.spool / segments.sealed_name(1), b"torn" + FRAMES[0] + FRAMES[1][:-1], old): 1,
        put(host.outbox / "b/k1.json", PLAIN, old): 1,
        put(host.outbox / "b/k2.json", BURST, old): 4,
        put(host.outbox / "c/k4.split", BURST, old): 4,
    }
    assert enforce(home) == sum(gone.values())
    assert dropped(host) == b"\0" * sum(gone.values())
    assert all(kept(young))
    assert not any(kept(gone))


def test_over_the_size_the_oldest_goes_first(home, host):
    """At any stage, across all hosts of the home; a file that just fits stays."""
    other = Home(home).host("other")
    order = [
        sealed(host, 1, 500),
        put(other.outbox / "b/k.json", PLAIN, 400),
        sealed(other, 2, 300),
        put(host.outbox / "b/k.json", BURST, 200),
    ]
    sizes = [path.stat().st_size for path in order]
    assert enforce(home, spool_max_mib=sum(sizes) / MIB) == 0
    assert enforce(home, spool_max_mib=(sum(sizes) - 1) / MIB) == 1
    assert kept(order) == [False, True, True, True]
    assert enforce(home, spool_max_mib=(sizes[3] + 1) / MIB) == 3
    assert kept(order) == [False, False, False, True]
    assert enforce(home, spool_max_mib=0) == 4
    assert (len(dropped(host)), len(dropped(other))) == (5, 3)


def test_the_open_segment_and_batches_in_the_making_are_left(home, host):
    """Writers and the owner of the batch take care of them."""
    paths = [
        put(host.events, FRAMES[0], 99 * DAY_S),
        put(host.work / "b.me" / segments.sealed_name(1), FRAMES[1], 99 * DAY_S),
        put(host.outbox / "b" / f"{segments.sealed_name(1)}.9.taken", FRAMES[1], 99 * DAY_S),
    ]
    assert enforce(home, spool_max_mib=0, spool_max_days=0) == 0
    assert all(kept(paths))


@pytest.mark.parametrize("name", ["sent", "rejected", "damaged"])
def test_sent_rejected_and_damaged_files_have_caps_of_their_own(home, host, name):
    directory = getattr(host, name)
    old, middle, new = (put(directory / f"{age}", b"x" * 1000, age * DAY_S) for age in (31, 20, 10))
    enforce(home)
    assert kept((old, middle, new)) == [False, True, True]
    enforce(home, sent_max_mib=1500 / MIB)
    assert kept((old, middle, new)) == [False, False, True]
    assert not host.dropped.exists()


def test_receipts_go_with_their_bodies_and_not_before_them(home, host):
    """By age, by size, and where one day alone exceeds the cap; receipts without bodies go, too."""
    old, new, alone = (host.sent / f"2026-11-{day}.jsonl" for day in (20, 21, 22))
    days = [path for day in (old, new) for path in (day, archive.receipts_of(day))]
    for path, age_days in zip(days, (20, 40, 2, 1), strict=True):
        put(path, b'{"n":1}\n' * 100, age_days * DAY_S)
    put(archive.receipts_of(alone), b"{}\n", 31 * DAY_S)
    enforce(home)
    assert sorted(host.sent.iterdir()) == sorted(days)
    enforce(home, sent_max_mib=2000 / MIB)
    assert sorted(host.sent.iterdir()) == sorted(days[2:])
    enforce(home, sent_max_mib=1200 / MIB)
    assert [path.read_bytes().count(b"\n") for path in days[2:]] == [74, 74]


def test_what_vanishes_meanwhile_is_not_counted(home, host, monkeypatch):
    """It was delivered at last."""
    path = put(host.outbox / "b/k.json", BURST, 99 * DAY_S)
    items = list(retention._unsent([host]))
    path.unlink()
    assert [retention._drop(item) for item in items] == [0]
    assert not host.dropped.exists()
    assert host.outbox.exists()


BURSTS = [b"{}", b'{"count":"x"}', b'{"count":null}']


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", *(b'{"burst":%b}' % burst for burst in BURSTS)])
def test_a_damaged_body_goes_like_any_other(home, host, data):
    path = put(host.outbox / "b/k.json", data, 99 * DAY_S)
    enforce(home)
    assert not path.exists()


def test_caps_are_for_our_own_rooms(home, host, tmp_path):
    for name in ("spool", "outbox", "sent"):
        getattr(host, name).symlink_to(tmp_path)
    names = (segments.sealed_name(1), "b/k.json", "2026-11-22.jsonl")
    theirs = [put(tmp_path / name, b"x", 99 * DAY_S) for name in names]
    assert enforce(home) == 0
    assert all(kept(theirs))


@pytest.mark.parametrize("name", ["spool/sealed-0000000000000000001-00000000.msgpack", "outbox/b/k.json"])
def test_what_is_no_file_of_ours_goes_uncounted(home, host, name):
    """It cannot be counted, and must not keep the cap from the files after it."""
    path = host.root / name
    path.parent.mkdir(parents=True, mode=0o700)
    path.symlink_to("elsewhere")
    os.utime(path, (1, 1), follow_symlinks=False)
    old = sealed(host, 2, 99 * DAY_S)
    assert enforce(home) == 2
    assert not old.exists()
    assert not os.path.lexists(path)


def test_a_record_that_is_appended_amid_a_drop_is_counted(home, host, monkeypatch):
    """A writer without the lock may append after the count; its segment carries the mark by then."""
    path, modes = sealed(host, 2, 99 * DAY_S), []

    def append():
        modes.append(path.stat().st_mode)
        with path.open("ab") as stream:
            stream.write(FRAMES[2])

    amid(monkeypatch, append, "unlink")
    assert enforce(home) == 3
    assert dropped(host) == b"\0" * 3
    assert modes[0] & files.TOMBSTONE_MODE


def test_a_batch_is_read_again_only_if_it_changed(home, host, monkeypatch):
    """There may be a hundred thousand bodies in it, once a minute."""
    first = put(host.outbox / "b/k1.json", PLAIN, 100)
    sums, read, real = retention.BatchSums(), [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(str(path)) or real(path))
    cap = Limits(spool_max_mib=(len(PLAIN) + len(BURST) - 1) / MIB)
    for _ in range(3):
        assert retention.enforce_unsent(Home(home), cap, NOW_S, sums) == 0
    assert read.count(str(first.parent)) == 1
    put(host.outbox / "b/k2.json", BURST)
    assert retention.enforce_unsent(Home(home), cap, NOW_S, sums) == 1
    assert not first.exists()
    host.outbox.rename(host.outbox.with_name("gone"))
    retention.enforce_unsent(Home(home), cap, NOW_S, sums)
    assert sums._known == {}


def enforce_shared(own, **limits):
    home = Home(own.telemetry.parent)
    return retention.enforce_unsent(home, Limits(**limits), NOW_S, retention.BatchSums(), own)


@pytest.fixture(params=["segment", "body"])
def old(request, home, host):
    """Give another host's file of four events that a cap takes."""
    node, login = (Home(home).host(name) for name in ("node", "login"))
    for other in (node, login):
        other.root.mkdir(mode=0o700)
    if request.param == "segment":
        path = put(node.spool / whole_name(1), b"".join(FRAMES[:4]), 31 * DAY_S)
    else:
        path = put(node.outbox / "b" / f"{key_of(BURST)}.json", BURST, 31 * DAY_S)
        node.outbox.chmod(0o700)
    path.parent.chmod(0o700)
    return path


def test_two_machines_drop_a_file_once(home, host, monkeypatch, old):
    """Each has listed it. The one that moves it away counts its events, in a file of its own."""
    first = []
    amid(monkeypatch, lambda: first.append(enforce_shared(Home(home).host("login"))), "rename")
    assert old.exists()
    assert enforce_shared(host) == 0
    assert first == [4]
    names = homes.find(homes.telemetry(home), "*/dropped")
    assert [(path.parent.name, path.stat().st_size) for path in names] == [("login", 4)]
    assert homes.unsent_files(home) == []


def test_a_death_before_the_count_loses_nothing(host, spooling, monkeypatch, old):
    """On a shared home the file is moved first. It is then delivered, not dropped."""
    die(monkeypatch, "write", 0)
    with pytest.raises(DeathError):
        enforce_shared(host)
    monkeypatch.undo()
    assert not old.exists()
    assert begin_again(host, spooling) == [0, 1, 2, 3]


def test_one_days_archive_over_the_cap_keeps_its_newest_lines(home, host):
    """It is shortened to whole lines, not deleted, and not by another machine: its own may append to it."""
    lines = [b'{"n":%d}\n' % number for number in range(1000)]
    path = put(host.sent / "2026-11-22.jsonl", b"".join(lines))
    host.sent.chmod(0o700)
    cap = sum(map(len, lines)) // 2
    for own in (Home(home).host("login"), host):
        retention.enforce_archives(Home(home), Limits(sent_max_mib=cap / MIB), NOW_S, own)
        left = path.read_bytes().splitlines(keepends=True)
        assert (left == lines) is (own != host)
        assert left == lines[-len(left) :]
    assert 0 < sum(map(len, left)) <= cap


def test_a_whole_segment_counts_as_a_block_of_the_disk(home, host):
    paths = [put(host.spool / whole_name(age_s), FRAMES[0], -age_s) for age_s in (1, 2, 3)]
    for each in (host.spool, host.root):
        each.chmod(0o700)
    assert enforce(home, spool_max_mib=3 * 4096 / MIB) == 0
    assert enforce(home, spool_max_mib=2.5 * 4096 / MIB) == 1
    assert kept(paths) == [False, True, True]
