"""Section 5, "Record": every byte of a segment, and what damage costs."""

from __future__ import annotations

import io
import random
import re
import time
import uuid
import zlib
from typing import TYPE_CHECKING

import msgpack
import pytest

from tests.support import homes, processes, records, wire

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import Collector


def test_a_segment_is_a_stream_of_frames(home: Path) -> None:
    """Every record is `92 CE <crc> C5 <length> <payload>`, back to back."""
    processes.spool_events(home, 5, {"text": "x" * 1000})
    payloads = records.split(homes.open_segment(home).read_bytes())
    assert len(payloads) == 5


def test_a_segment_is_a_plain_msgpack_stream(home: Path) -> None:
    """Any msgpack reader reads a segment as pairs of a checksum and the payload."""
    processes.spool_events(home, 5)
    stream = list(msgpack.Unpacker(io.BytesIO(homes.open_segment(home).read_bytes())))
    assert len(stream) == 5
    for crc, payload in stream:
        assert crc == zlib.crc32(payload)
        assert set(msgpack.unpackb(payload)) == {"event_type", "event_details", "context"}


def test_the_payload_is_the_event_with_a_date_in_microseconds(home: Path) -> None:
    """The context has the keys of the wire; `date` is an integer between the times around the call."""
    before_us = time.time_ns() // 1000
    processes.spool_events(home)
    after_us = time.time_ns() // 1000
    (event,) = homes.spooled(home)
    context = event["context"]
    assert set(context) == {"partner", "source", "cluster", "date", "flower", "hw", "platform"}
    assert type(context["date"]) is int
    assert before_us <= context["date"] <= after_us
    assert uuid.UUID(context["cluster"]).version == 4
    assert uuid.UUID(context["source"]).version == 4
    assert set(context["hw"]) == {"cpu_count"}


def _rubbish(seed: int) -> bytes:
    chance = random.Random(seed)
    return b"".join(
        chance.choice([b"\x92\xce", b"\x92", b"\xc5", chance.randbytes(7), b"\x00" * 5]) for _ in range(40)
    )


_GOOD = [records.encode(event) for event in records.series(6)]
_TORN = records.encode(records.sample({"n": 99}))
_DAMAGE: dict[str, bytes] = {
    "rubbish": b"this is no record",
    "looks like headers": _rubbish(7),
    "zeros of a lost page": b"\x00" * 4096,
    "a torn record": _TORN[:-10],
    "a torn header": _TORN[:5],
    "a flipped bit": _TORN[:40] + bytes([_TORN[40] ^ 1]) + _TORN[41:],
    "a wrong checksum": _TORN[:2] + b"\xff\xff\xff\xff" + _TORN[6:],
    "a length beyond the end": b"\x92\xce\x00\x00\x00\x00\xc5\xff\xff",
    "a checksum over no msgpack": records.frame(b"\xc1\xc1\xc1"),
    "a checksum over a number": records.frame(msgpack.packb(7)),
    "a checksum over an empty map": records.frame(msgpack.packb({})),
    "a checksum over nothing": records.frame(b""),
    "an event without context": records.frame(msgpack.packb({"event_type": "PING", "event_details": {}})),
    "an event with a date in text": records.encode(
        records.sample({"n": 98}, date="2026-11-22T10:00:00+00:00")
    ),
    "other msgpack": msgpack.packb({"event_type": "PING"}) * 3,
}


def test_damage_costs_no_other_record(home: Path, collector: Collector) -> None:
    """Before, between and after records: damage is kept in damaged/, and all other events arrive once."""
    homes.configure(home, collector.url)
    for turn, damage in enumerate(_DAMAGE.values()):
        good = [records.encode(event) for event in records.series(6, start=10 * turn)]
        parts = [damage, *good[:2], damage, *good[2:4], damage, damage, *good[4:], damage]
        homes.put_bytes(home, b"".join(parts), name=f"sealed-17950000000000000{turn:02}-0a1b2c3d.msgpack")
    processes.once(home)
    arrived = wire.serials(collector.events())
    for turn, name in enumerate(_DAMAGE):
        numbers = [number - 10 * turn for number in arrived if number // 10 == turn]
        assert numbers == [0, 1, 2, 3, 4, 5], f"beside {name}"
    assert len(arrived) == 6 * len(_DAMAGE)
    kept = [path for path in (homes.host(home) / "damaged").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) > 0
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("name", ["a torn record", "a length beyond the end", "looks like headers"])
def test_damage_in_the_open_segment_costs_no_other_record(
    home: Path, collector: Collector, name: str
) -> None:
    """Workloads append after damage, and what they append arrives."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, _GOOD[0] + _DAMAGE[name])
    processes.spool_events(home, 2, start_at=1)
    processes.once(home)
    assert wire.serials(collector.events()) == [0, 1, 2]


def test_status_counts_damage(home: Path, collector: Collector) -> None:
    """The counter `damaged` outlives the sidecar that found the damage."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, _GOOD[0] + b"rubbish" + _GOOD[1])
    processes.once(home)
    told = processes.command(home, "status", "--json").stdout
    assert re.search(r'"damaged": *[1-9]', told)


def test_a_record_inside_a_record_is_no_event(home: Path, collector: Collector) -> None:
    """A payload that holds the bytes of a whole record is read as the one event that it is."""
    inner = _GOOD[0].decode("latin-1")
    homes.configure(home, collector.url)
    homes.put(home, [records.sample({"n": 1, "text": inner}), records.sample({"n": 2, "text": "x" * 7000})])
    processes.deliver(home)
    assert wire.serials(collector.events()) == [1, 2]


def test_an_empty_segment_is_fine(home: Path, collector: Collector) -> None:
    """A segment without a byte is nothing to deliver and nothing to complain about."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, b"")
    homes.put(home, records.series(2), name="sealed-1795000000000000000-0a1b2c3d.msgpack")
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]


def test_only_rubbish_is_kept_and_sends_nothing(home: Path, collector: Collector) -> None:
    """A segment of nothing but damage makes no request."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, _rubbish(11))
    processes.once(home)
    assert collector.requests == []
    assert list((homes.host(home) / "damaged").rglob("*"))
