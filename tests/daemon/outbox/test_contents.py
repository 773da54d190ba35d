"""The files of each stage, as readers see them."""

import pytest

from flwr_telemetryd.outbox import contents
from flwr_telemetryd.spool import reader, segments
from tests.daemon.conftest import FRAMES, burst_of, put_body, sealed, take
from tests.support import homes, records, wire

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
    name = segments.sealed_name(1, len(FRAMES[0]))
    path = homes.put_bytes(home, FRAMES[0] + FRAMES[1] + FRAMES[2], name=name)
    marked = path.rename(path.with_name(f"{name}.99.taken"))
    numbers = [
        [piece.event["event_details"]["n"] for piece in contents.read_segment(marked, offset)]
        for offset in (0, len(FRAMES[0] + FRAMES[1]))
    ]
    assert numbers == [[1, 2], [2]]
    assert contents.first_byte(marked) == len(FRAMES[0])


def test_damage_is_given_with_the_records(home):
    path = homes.put_bytes(home, b"torn" + FRAMES[0])
    assert [type(piece) for piece in contents.read_segment(path)] == [reader.Damage, reader.Record]


def test_a_burst_that_is_being_split_stands_for_its_events(host):
    key = wire.key_of(BURST)
    whole = put_body(host, BURST, name=f"{key}.split")
    put_body(host, b"{}", name=f"{wire.member_key(key, 1)}.json")
    other = put_body(host, b"{}", name=f"{wire.member_key(key, 3)}.json")
    put_body(host, b"no", name="stray")
    assert list(contents.outbox_bodies(host)) == [whole.path, other.path]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"burst":7}', BURST[:-3], b"[" * 60_000], ids=repr)
def test_a_damaged_body_has_no_events(data):
    assert (contents.count_events(data), contents.expand(data)) == (0, [])


def test_the_events_of_a_body():
    assert (contents.count_events(BURST), contents.expand(BURST)) == (3, wire.expand(BURST))
