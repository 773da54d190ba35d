"""Views of a host: whether anything waits and how much, and the files of each stage."""

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.outbox import backlog, contents
from flwr_telemetryd.outbox.backlog import Backlog, Counter
from flwr_telemetryd.spool import reader, segments
from tests.daemon.conftest import FRAMES, burst_of, put_body, sealed, take
from tests.support import homes, records, wire
from tests.support.faults import amid

WAITS = {
    "anything": "spool/events.msgpack",
    "more": "spool/sealed-0000000000000000001-00000000.msgpack work/b.0/x outbox/b/sealed-1.msgpack.0.taken",
    "bodies": "outbox/b/k.json outbox/b/k.split",
    "": "spool/flush outbox/b/sealed-1.msgpack.1.taken outbox/b/stray sent/2026-11-22.jsonl",
}


@pytest.mark.parametrize(
    ("waits", "place"), [(waits, place) for waits, places in WAITS.items() for place in places.split()]
)
def test_what_waits(host, place, waits):
    path = host.root / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert backlog.anything_waits(host) is (waits != "")
    assert backlog.is_waiting(host) is (waits != "")
    assert backlog.more_waits(host) is (waits in {"more", "bodies"})
    assert backlog.bodies_wait(host) is (waits == "bodies")


def test_an_empty_segment_and_an_unsafe_host_do_not_wait(home, host):
    """No sidecar of another host can deliver the latter."""
    homes.put_bytes(home, b"")
    assert not backlog.anything_waits(host)
    homes.put(home, records.series(1))
    host.spool.chmod(0o777)
    assert backlog.anything_waits(host)
    assert not backlog.is_waiting(host)


def test_a_count_reads_a_file_again_only_if_it_has_grown(home, host, monkeypatch):
    node = Home(home).host("node")
    segment = homes.put(home, records.series(2))
    homes.put(home, records.series(3), host_of="node")
    put_body(host, burst_of(records.series(4)))
    put_body(host, b"{")
    counter = Counter([host, node])
    assert counter.left() == Backlog(events=2 + 3 + 4, bodies=2)
    with segment.open("ab") as file:
        file.write(records.encode(records.sample()))
    reads = []
    amid(monkeypatch, lambda: reads.append(1), "open")
    amid(monkeypatch, lambda: reads.append(2), "open", after=1)
    assert counter.left() == Backlog(events=3 + 3 + 4, bodies=2)
    assert reads == [1]


def test_a_count_ends_when_its_caller_says_so(home, host, monkeypatch):
    """A file that vanishes meanwhile counts nothing."""
    path = homes.put(home, records.series(1))
    assert Counter([host]).left(lambda: True) == Backlog(0, 0)
    amid(monkeypatch, path.unlink, "open")
    assert Counter([host]).left() == Backlog(0, 0)


# The files of each stage

BURST = burst_of(records.series(3))


def test_segments_are_listed_oldest_first_wherever_they_are(home, host):
    first, second = sealed(home, 0), sealed(home, 1, at_ns=2)
    made = take(host)
    (made.path / second.name).rename(made.path / f"{second.name}.77.taken")
    third = sealed(home, 2, at_ns=3)
    homes.put_bytes(home, FRAMES[3])
    put_body(host, b"x", name=f"{first.name}.1.taken")
    found = [made.path / first.name, made.path / f"{second.name}.77.taken", third, host.events]
    assert contents.spool_segments(host) == found


def test_a_segment_is_read_from_where_its_name_says(home, host):
    """Not from before it, even if the caller asks for that. Damage is given with the records."""
    name = segments.sealed_name(1, len(FRAMES[0]))
    path = homes.put_bytes(home, FRAMES[0] + FRAMES[1] + FRAMES[2] + b"torn", name=name)
    marked = path.rename(path.with_name(f"{name}.99.taken"))
    for offset, numbers in ((0, [1, 2]), (len(FRAMES[0] + FRAMES[1]), [2])):
        *found, damage = contents.read_segment(marked, offset)
        assert [piece.event["event_details"]["n"] for piece in found] == numbers
        assert type(damage) is reader.Damage
    assert contents.first_byte(marked) == len(FRAMES[0])


def test_a_burst_that_is_being_split_stands_for_its_events(host):
    key = wire.key_of(BURST)
    whole = put_body(host, BURST, name=f"{key}.split")
    put_body(host, b"{}", name=f"{wire.member_key(key, 1)}.json")
    other = put_body(host, b"{}", name=f"{wire.member_key(key, 3)}.json")
    put_body(host, b"no", name="stray")
    assert list(contents.outbox_bodies(host)) == [whole.path, other.path]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"burst":7}', BURST[:-3], pytest.param(b"[" * 60_000, id="deep")]
)
def test_a_damaged_body_has_no_events(data):
    assert contents.count_events(data) == 0
    assert contents.expand(data) == []
