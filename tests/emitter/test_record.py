"""The record format: a framed record is read again, and damage costs only the record that it hits."""

import itertools
import struct
import zlib

import msgpack.fallback
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import record
from flwr_telemetryd.spool.reader import Damage, Record
from flwr_telemetryd.spool.reader import read as read_
from tests.support import records
from tests.support.strategies import events, packed, tried

GIGANTIC = b"\x92\xce\0\0\0\0\xc5\xff\xff"
SAMPLE = records.sample({"n": 1})
FRAME = record.frame(record.pack(SAMPLE))


def cut(data, sizes):
    """Cut data into chunks of these sizes, over and over; empty ones too."""
    at = 0
    for size in itertools.cycle([*sizes, 7]):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def naive(data):
    """Read by the letter and byte by byte: a payload for each record, a length for each run of damage."""
    found = []
    at = 0
    while at < len(data):
        payload = naive_payload(data, at)
        if payload is not None:
            found.append(payload)
            at += records.HEADER_BYTES + len(payload)
            continue
        run = found.pop() if found and isinstance(found[-1], int) else 0
        assert isinstance(run, int)
        found.append(run + 1)
        at += 1
    return found


def naive_payload(data, at):
    head = data[at : at + records.HEADER_BYTES]
    if len(head) < records.HEADER_BYTES or head[:2] != b"\x92\xce" or head[6:7] != b"\xc5":
        return None
    crc, length = struct.unpack(">xxIxH", head)
    payload = data[at + len(head) : at + len(head) + length]
    if len(payload) != length or zlib.crc32(payload) != crc:
        return None
    try:
        event = msgpack.unpackb(payload)
    except ValueError:
        return None
    return payload if isinstance(event, dict) and "event_type" in event else None


def read(data, sizes):
    """Read as the project does, in the form of ``naive``; holds every piece against its bytes."""
    found = []
    at = 0
    for piece in read_(cut(data, sizes)):
        if isinstance(piece, Record):
            frame = data[at : at + piece.size_bytes]
            assert packed(piece.event) == packed(msgpack.unpackb(frame[records.HEADER_BYTES :]))
            found.append(frame[records.HEADER_BYTES :])
            at += piece.size_bytes
            continue
        assert piece.data
        assert data.startswith(piece.data, at)
        at += len(piece.data)
        goes_on = bool(found) and isinstance(found[-1], int)
        assert piece.first is not goes_on
        run = found.pop() if goes_on else 0
        assert isinstance(run, int)
        found.append(run + len(piece.data))
    assert at == len(data)
    return found


chunk_sizes = st.lists(st.integers(0, 40) | st.integers(0, 2000), max_size=6)
frames = events.map(records.encode)


@st.composite
def damaged(draw):
    """Give bytes that are no whole record, nor begin one that the next bytes could complete."""
    frame = draw(frames)
    at = draw(st.integers(0, len(frame) - 1))
    kind = draw(st.sampled_from(["flipped", "torn", "headless", "inserted", "garbage", "header", "no event"]))
    if kind == "flipped":
        return frame[:at] + bytes([frame[at] ^ draw(st.integers(1, 255))]) + frame[at + 1 :]
    if kind == "torn":
        return frame[:at]
    if kind == "headless":
        return frame[at + 1 :]
    if kind == "inserted":
        return frame[: at + 1] + draw(st.binary(min_size=1, max_size=9)) + frame[at + 1 :]
    if kind == "garbage":
        return draw(st.binary(max_size=60))
    if kind == "header":
        return draw(st.sampled_from([b"\x92", b"\x92\xce", FRAME[:8], FRAME[:9], GIGANTIC, GIGANTIC * 3]))
    return records.frame(packed(draw(st.sampled_from([None, [], {}, "event_type", [SAMPLE]]))))


@tried(60)
@given(st.lists(events, max_size=6), chunk_sizes)
def test_what_was_framed_is_read_again(given_events, sizes):
    """Any events, cut into any chunks, come back equal to the byte, in order, with their sizes."""
    payloads = [record.pack(event) for event in given_events]
    assert read(b"".join(map(record.frame, payloads)), sizes) == payloads


@tried(120)
@given(st.lists(st.tuples(st.booleans(), frames, damaged()), max_size=6), chunk_sizes)
def test_damage_costs_only_the_records_it_touches(items, sizes):
    """Between any damage every intact record is given, as by a reader that tries every byte."""
    segment = b"".join(frame if good else bad for good, frame, bad in items)
    found = read(segment, sizes)
    assert found == naive(segment)
    rest = iter([payload for payload in found if isinstance(payload, bytes)])
    for good, frame, _ in items:
        assert not good or frame[records.HEADER_BYTES :] in rest


@pytest.mark.parametrize("behind", [b"", FRAME, FRAME * 100, FRAME * 400])
@pytest.mark.parametrize("size", [1000, 70_000, 1_000_000])
def test_a_header_of_gigantic_length_hides_nothing(behind, size):
    """Records behind a header that promises 64 KiB are given, whether so much follows or not."""
    segment = FRAME + GIGANTIC + behind
    count = len(behind) // len(FRAME)
    payload = FRAME[records.HEADER_BYTES :]
    assert read(segment, [size]) == [payload, len(GIGANTIC), *[payload] * count]


def _changed(**changes):
    return {**SAMPLE, "context": {**SAMPLE["context"], **changes}}


def _without(name):
    return {**SAMPLE, "context": {key: value for key, value in SAMPLE["context"].items() if key != name}}


def _nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


NO_EVENTS = {
    "empty": b"",
    "torn": record.pack(SAMPLE)[:-1],
    "bytes_behind": record.pack(SAMPLE) + b"\0",
    "two": record.pack(SAMPLE) * 2,
    "list": packed([SAMPLE]),
    "another_name": packed({**SAMPLE, "burst": {}}),
    "no_details": packed({name: SAMPLE[name] for name in ("event_type", "context")}),
    "type_is_none": packed({**SAMPLE, "event_type": None}),
    "details_are_a_list": packed({**SAMPLE, "event_details": []}),
    "context_is_a_list": packed({**SAMPLE, "context": []}),
    **{f"no_{name}": packed(_without(name)) for name in ("partner", "source", "cluster", "date")},
    "source_is_none": packed(_changed(source=None)),
    "date_is_text": packed(_changed(date="2026-11-22T10:00:00+00:00")),
    "date_is_a_float": packed(_changed(date=1.0)),
    "date_is_true": packed(_changed(date=True)),
    "date_before_the_calendar": packed(_changed(date=record.MIN_DATE_US - 1)),
    "date_after_the_calendar": packed(_changed(date=record.MAX_DATE_US + 1)),
    "nan": packed(_changed(hw=float("nan"))),
    "infinity": packed(_changed(hw=[float("-inf")])),
    "binary": packed(_changed(hw=b"")),
    "extension": packed(_changed(hw=msgpack.ExtType(5, b""))),
    "timestamp": packed(_changed(hw=msgpack.Timestamp(1))),
    "key_is_a_number": packed(_changed(hw={1: 1})),
    "key_is_a_list": packed(SAMPLE).replace(b"\xa9cpu_count", b"\x91\xa8pu_count"),
    "broken_text": packed(SAMPLE).replace(b"PING", b"P\xffNG"),
    "too_deep": packed({**SAMPLE, "event_details": {"a": _nested(record.MAX_DEPTH + 1)}}),
    "far_too_deep": packed({**SAMPLE, "event_details": {}})[:-1] + b"\x91" * 60_000,
    "promises_4_gib": b"\xdf\xff\xff\xff\xff",
}


def test_an_event_of_flwr_datasets_is_one():
    """It names its package in place of Flower and no partner; without either it is damage like another."""
    event = records.of_datasets(SAMPLE)
    assert record.decode(packed(event)) == event
    del event["context"]["source"]
    with pytest.raises(record.NotAnEventError):
        record.decode(packed(event))


@pytest.mark.parametrize("payload", NO_EVENTS.values(), ids=NO_EVENTS)
def test_a_checksum_over_something_else_is_damage(payload):
    """A valid record of something that is no event is damage, and its neighbours are read."""
    good, whole = FRAME[records.HEADER_BYTES :], records.frame(payload)
    assert read(FRAME + whole + FRAME, [50]) == [good, len(whole), good]


@tried(120)
@given(
    st.binary(max_size=80)
    | st.builds(lambda a, b: record.pack(SAMPLE)[:a] + b, st.integers(0, 400), st.binary())
)
def test_no_bytes_make_the_decoder_raise_anything_else(payload):
    """Any bytes are either an event or a NotAnEventError."""
    try:
        event = record.decode(payload)
    except record.NotAnEventError:
        return
    record.check_event(event)


@pytest.mark.parametrize("filler", [b"\0", b"\x92", b"\x92\xce", GIGANTIC, b"x" * 70_000 + b"\x92\xce"])
def test_memory_is_bounded(filler):
    """A piece of damage is no longer than a chunk and a record, however long the damage is."""
    size = 4096
    longest = size + records.HEADER_BYTES + record.MAX_PAYLOAD_BYTES
    garbage = (filler * (300_000 // len(filler) + 1))[:300_000]
    pieces = list(read_(cut(garbage, [size] * 100)))
    lengths = [len(piece.data) for piece in pieces if isinstance(piece, Damage)]
    assert sum(lengths) == len(garbage)
    assert max(lengths) <= longest


def test_records_are_given_before_more_is_asked_for():
    """The reader does not run ahead of its caller: one chunk is enough for the records in it."""

    def chunks():
        yield FRAME * 2 + FRAME[:5]
        pytest.fail("asked for a second chunk")

    reader = read_(chunks())
    assert [packed(next(reader).event) for _ in range(2)] == [packed(SAMPLE)] * 2


@tried(50)
@given(st.lists(events, max_size=5))
def test_an_undamaged_segment_is_a_plain_msgpack_stream(given_events):
    """Another implementation of msgpack, in pure Python, reads pairs of a checksum and a payload."""
    reader = msgpack.fallback.Unpacker()
    reader.feed(b"".join(record.frame(record.pack(event)) for event in given_events))
    payloads = [record.pack(event) for event in given_events]
    assert list(reader) == [[zlib.crc32(payload), payload] for payload in payloads]


def test_the_longest_payload():
    """65535 bytes fit into a record, one more is refused."""
    assert record.frame(b"x" * 65_535)[6:9] == b"\xc5\xff\xff"
    with pytest.raises(ValueError, match="65536"):
        record.frame(b"x" * 65_536)


@tried(50)
@given(events)
def test_an_event_assembled_from_parts_is_the_event(event):
    """Packed parts make the payload in the order of the wire, the date as a fixed int 64."""
    context = dict(event["context"])
    ids = ("partner", "source", "cluster")
    before = {name: context.pop(name) for name in ids if name in context}
    date_us = context.pop("date")
    parts = record.context_parts(before, context)
    head = record.event_head(event["event_type"])
    payload = record.assemble(head, record.pack(event["event_details"]), parts, date_us)
    assert packed(record.decode(payload)) == packed(event)
    assert b"\xa4date\xd3" + struct.pack(">q", date_us) in payload
