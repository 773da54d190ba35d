"""Damage in segments: every intact record around it is delivered, and the damage is counted and kept."""

import gzip
import json
import random
import zlib

import msgpack
import pytest

from tests.faults.scene import SEALED, place, unfinished
from tests.support import homes, records, wire
from tests.support.records import frame

EVENTS = records.series(6)
FRAMES = [records.encode(event) for event in EVENTS]
LOST = records.encode(records.sample({"n": 99}))  # what is damaged holds this event


def flipped(at):
    """Give a record with one bit turned."""
    return LOST[:at] + bytes([LOST[at] ^ 0x10]) + LOST[at + 1 :]


def nested(levels):
    """Give an event whose one detail is so many arrays deep, packed by hand: no packer goes so deep."""
    bare = msgpack.packb(records.sample({"n": msgpack.Timestamp(1)}))
    return bytes(bare.replace(msgpack.packb(msgpack.Timestamp(1)), b"\x91" * levels + b"\x01", 1))


DAMAGE = {
    **{f"bit of byte {at} flipped": flipped(at) for at in (0, 1, 3, 6, 7, 8, 9, 60, len(LOST) - 1)},
    **{f"cut to {size} bytes": LOST[:size] for size in (1, 2, 8, 9, 60, len(LOST) - 1)},
    "head missing": LOST[1:],
    "hole at the end": LOST[:100] + bytes(len(LOST) - 100),
    "hole amid": LOST[:100] + bytes(100) + LOST[200:],
    "page of zeros": bytes(4096),
    "wrong checksum": LOST[:2] + b"\xff\xff\xff\xff" + LOST[6:],
    "garbage": random.Random(7).randbytes(50_000),
    "ones": b"\xff" * 5000,
    "text": b'{"event_type":"PING"}\n' * 50,
    "another msgpack stream": b"".join(msgpack.packb(event) for event in EVENTS),
    "compressed": gzip.compress(b"".join(FRAMES), mtime=0),
    "starts only": b"\x92\xce" * 5000,
    "headers only": (b"\x92\xce\0\0\0\0\xc5\xff\xff") * 500,
    "array of 4 Gi": b"\xdd\xff\xff\xff\xff",
    "map of 4 Gi": b"\xdf\xff\xff\xff\xff",
    "binary of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "text of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "extension of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "record of 64 KiB that is not there": b"\x92\xce\x12\x34\x56\x78\xc5\xff\xff" + b"x" * 100,
    "record in wider widths": b"\x92\xce" + LOST[2:6] + b"\xc6\0\0" + LOST[7:],
    "100k arrays deep": b"\x91" * 100_000,
    "100k maps deep": b"\x81" * 100_000,
}
# Behind a checksum that holds; `test_record.py` of the emitter has more of what is no event.
SEALED_DAMAGE = {
    "nothing": b"",
    "an event without context": msgpack.packb({"event_type": "PING", "event_details": {}}),
    "65k arrays deep": b"\x91" * 65_000 + b"\x01",
    "65k maps deep": b"\x81" * 65_000,
    "65k extensions": b"\xc7\0\x01" * 20_000,
    "array of 4 Gi": b"\xdd\xff\xff\xff\xff",
    "map of 4 Gi": b"\xdf\xff\xff\xff\xff",
    "details 101 deep": nested(101),
    "details 60k deep": nested(60_000),
    "trailing bytes": msgpack.packb(records.sample({"n": 99})) + b"\x01",
    "a date beyond the calendar": msgpack.packb(records.sample({"n": 99}, date_us=2**62)),
    "not a number": msgpack.packb(records.sample({"n": float("nan")})),
    "broken UTF-8": msgpack.packb(records.sample({"n": "xxxx"})).replace(b"xxxx", b"\xff\xfe\xc0\x80"),
    "a lone surrogate": msgpack.packb(records.sample({"n": "xxx"})).replace(b"xxx", b"\xed\xa0\x80"),
}
ALL = {**DAMAGE, **{f"{name}, sealed": frame(payload) for name, payload in SEALED_DAMAGE.items()}}


@pytest.mark.parametrize("name", ALL)
def test_damage_costs_no_other_record(zygote, home, collector, name):
    """Before, between and after intact records: they arrive, and `status` and damaged/ tell of the rest."""
    harm = ALL[name]
    homes.put_bytes(home, harm + FRAMES[0] + FRAMES[1] + harm + FRAMES[2], name=SEALED)
    homes.put_bytes(home, FRAMES[3] + harm + FRAMES[4] + FRAMES[5] + harm)
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2, 3, 4, 5]
    assert homes.unsent_files(home) == []
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 4
    kept = b"".join(path.read_bytes() for path in sorted(homes.host(home).glob("damaged/*")))
    assert kept.count(harm) >= 4
    assert len(kept) == 4 * len(harm)


def _in_a_batch(home, data):
    unfinished(home, []).write_bytes(data)


def _behind_an_offset(home, data):
    told = f"0a1b2c3d{len(FRAMES[0]):08x}"
    name = f"sealed-1795000000000000000-{told}{zlib.crc32(told.encode()):08x}.msgpack"
    place(home, f"spool/{name}", FRAMES[0] + data)


def _of_another_host(home, data):
    path = homes.put_bytes(home, data, host_of="other")
    for old in (path, path.parent):
        homes.age(old, 3600)


@pytest.mark.parametrize("put", [homes.put_bytes, _in_a_batch, _behind_an_offset, _of_another_host])
def test_damage_wherever_a_segment_lies(zygote, home, collector, put):
    """In the spool, in a dead sidecar's batch, behind an offset, on another host: the same holds."""
    put(home, FRAMES[1] + DAMAGE["garbage"] + FRAMES[2])
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [1, 2]
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 1
    assert [path.read_bytes() for path in home.glob("telemetry/*/damaged/*")] == [DAMAGE["garbage"]]
    assert homes.unsent_files(home) == []


def test_damage_that_cannot_be_kept_costs_no_record(zygote, home, collector):
    """Where something stands in its place in damaged/, it is counted, and the events are delivered."""
    homes.put_bytes(home, FRAMES[0] + DAMAGE["garbage"] + FRAMES[1], name=SEALED)
    place(home, f"damaged/{SEALED.removesuffix('.msgpack')}.bin/mine", b"in the way")
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1]
    assert zygote.status(home)["totals"]["counters"]["damaged"] == 1


def test_those_who_only_look_see_past_damage(zygote, home):
    """`inspect` shows the intact events of a damaged spool, and `status` counts them."""
    homes.configure(home)
    homes.put_bytes(home, FRAMES[0].join(ALL.values()))
    shown = zygote.command(home, "inspect", "--json")
    assert shown.returncode == 0
    numbers = [json.loads(line)["event_details"]["n"] for line in shown.stdout.splitlines()]
    assert numbers == [0] * (len(ALL) - 1)
    assert zygote.status(home)["totals"]["spool"]["events"] == len(ALL) - 1
