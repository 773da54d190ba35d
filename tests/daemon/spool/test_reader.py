"""The reader of segments: framed events are read again, and damage costs only the records it touches."""

import itertools
import struct
import zlib

import msgpack
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
    payloads = [record.pack(event) for event in given_events]
    assert read(b"".join(map(record.frame, payloads)), sizes) == payloads


@tried(120)
@given(st.lists(st.tuples(st.booleans(), frames, damaged()), max_size=6), chunk_sizes)
def test_damage_costs_only_the_records_it_touches(items, sizes):
    segment = b"".join(frame if good else bad for good, frame, bad in items)
    found = read(segment, sizes)
    assert found == naive(segment)
    rest = iter([payload for payload in found if isinstance(payload, bytes)])
    for good, frame, _ in items:
        assert not good or frame[records.HEADER_BYTES :] in rest


@pytest.mark.parametrize("behind", [b"", FRAME, FRAME * 100, FRAME * 400])
@pytest.mark.parametrize("size", [1000, 70_000, 1_000_000])
def test_a_header_of_gigantic_length_hides_nothing(behind, size):
    segment = FRAME + GIGANTIC + behind
    count = len(behind) // len(FRAME)
    payload = FRAME[records.HEADER_BYTES :]
    assert read(segment, [size]) == [payload, len(GIGANTIC), *[payload] * count]


@pytest.mark.parametrize("payload", [b"", b"\x90", packed({**SAMPLE, "event_type": None})])
def test_a_checksum_over_something_else_is_damage(payload):
    good, whole = FRAME[records.HEADER_BYTES :], record.frame(payload)
    assert read(FRAME + whole + FRAME, [50]) == [good, len(whole), good]


@pytest.mark.parametrize("filler", [b"\0", b"\x92", b"\x92\xce", GIGANTIC, b"x" * 70_000 + b"\x92\xce"])
def test_memory_is_bounded(filler):
    size = 4096
    longest = size + records.HEADER_BYTES + record.MAX_PAYLOAD_BYTES
    garbage = (filler * (300_000 // len(filler) + 1))[:300_000]
    pieces = list(read_(cut(garbage, [size] * 100)))
    lengths = [len(piece.data) for piece in pieces if isinstance(piece, Damage)]
    assert sum(lengths) == len(garbage)
    assert max(lengths) <= longest


def test_records_are_given_before_more_is_asked_for():
    def chunks():
        yield FRAME * 2 + FRAME[:5]
        pytest.fail("asked for a second chunk")

    reader = read_(chunks())
    assert [packed(next(reader).event) for _ in range(2)] == [packed(SAMPLE)] * 2
