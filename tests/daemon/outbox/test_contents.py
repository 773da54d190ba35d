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


DAMAGED = {
    "empty": b"",
    "a list": b"[]",
    "no event": b'{"burst":7}',
    "cut off": BURST[:-3],
    "too deep": b"[" * 60_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_body_has_no_events(data):
    assert contents.count_events(data) == 0
    assert contents.expand(data) == []
