"""Section 5, "Record": every byte of a segment, and what damage costs."""

import io
import time
import uuid
import zlib

import msgpack

from tests.support import homes, processes, records, wire


def test_a_segment_is_a_stream_of_frames(home):
    """Every record is `92 CE <crc> C5 <length> <payload>`, which any msgpack reader reads as pairs."""
    before_us = time.time_ns() // 1000
    processes.spool_events(home, 5, {"text": "x" * 1000})
    after_us = time.time_ns() // 1000
    segment = homes.open_segment(home).read_bytes()
    payloads = records.split(segment)
    assert len(payloads) == 5
    assert list(msgpack.Unpacker(io.BytesIO(segment))) == [[zlib.crc32(each), each] for each in payloads]
    for event in map(msgpack.unpackb, payloads):
        context = event["context"]
        assert set(event) == {"event_type", "event_details", "context"}
        assert set(context) == {"partner", "source", "cluster", "date", "flower", "hw", "platform"}
        assert type(context["date"]) is int
        assert before_us <= context["date"] <= after_us
        assert uuid.UUID(context["cluster"]).version == uuid.UUID(context["source"]).version == 4
        assert set(context["hw"]) == {"cpu_count"}


def test_a_record_inside_a_record_is_no_event(home, collector):
    """A payload that holds the bytes of a whole record is read as the one event that it is."""
    inner = records.encode(records.sample()).decode("latin-1")
    homes.put(home, [records.sample({"n": 1, "text": inner}), records.sample({"n": 2, "text": "x" * 7000})])
    processes.deliver(home)
    assert wire.serials(collector.events()) == [1, 2]
