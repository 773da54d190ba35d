"""Section 5, "Record": every byte of a segment, and what damage costs."""

import io
import time
import uuid
import zlib

import msgpack

from tests.support import homes, processes, records, wire


def test_a_segment_is_a_stream_of_frames(home):
    """Every record is `92 CE <crc> C5 <length> <payload>`, back to back."""
    processes.spool_events(home, 5, {"text": "x" * 1000})
    payloads = records.split(homes.open_segment(home).read_bytes())
    assert len(payloads) == 5


def test_a_segment_is_a_plain_msgpack_stream(home):
    """Any msgpack reader reads a segment as pairs of a checksum and the payload."""
    processes.spool_events(home, 5)
    stream = list(msgpack.Unpacker(io.BytesIO(homes.open_segment(home).read_bytes())))
    assert len(stream) == 5
    for crc, payload in stream:
        assert crc == zlib.crc32(payload)
        assert set(msgpack.unpackb(payload)) == {"event_type", "event_details", "context"}


def test_the_payload_is_the_event_with_a_date_in_microseconds(home):
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


_GOOD = [records.encode(event) for event in records.series(6)]


def test_workloads_append_after_damage(home, collector):
    """Their events arrive, though a torn record stands before them."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, _GOOD[0] + _GOOD[1][:-10])
    processes.spool_events(home, 2, start_at=1)
    processes.once(home)
    assert wire.serials(collector.events()) == [0, 1, 2]


def test_a_record_inside_a_record_is_no_event(home, collector):
    """A payload that holds the bytes of a whole record is read as the one event that it is."""
    inner = _GOOD[0].decode("latin-1")
    homes.configure(home, collector.url)
    homes.put(home, [records.sample({"n": 1, "text": inner}), records.sample({"n": 2, "text": "x" * 7000})])
    processes.deliver(home)
    assert wire.serials(collector.events()) == [1, 2]


def test_an_empty_segment_is_fine(home, collector):
    """A segment without a byte is nothing to deliver and nothing to complain about."""
    homes.configure(home, collector.url)
    homes.put_bytes(home, b"")
    homes.put(home, records.series(2), name="sealed-1795000000000000000-0a1b2c3d.msgpack")
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]
