"""The reader of segments; ``tests/faults/test_fuzz_record.py`` tries it on damage of every kind."""

import itertools

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import packing, record
from flwr_telemetryd.spool.reader import Damage, Record
from flwr_telemetryd.spool.reader import read as read_
from tests.support import records
from tests.support.strategies import events, packed, tried

GIGANTIC = b"\x92\xce\0\0\0\0\xc5\xff\xff"
SAMPLE = records.sample({"n": 1})
FRAME = packing.frame(record.pack(SAMPLE))


def cut(data, sizes):
    at = 0
    for size in itertools.cycle([*sizes, 7]):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def read(data, sizes):
    """Read as the project does: a payload for each record, a length for each run of damage."""
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
        found.append((found.pop() if goes_on else 0) + len(piece.data))
    assert at == len(data)
    return found


chunk_sizes = st.lists(st.integers(0, 40) | st.integers(0, 2000), max_size=6)


@tried(60)
@given(st.lists(events, max_size=6), chunk_sizes)
def test_what_was_framed_is_read_again(given_events, sizes):
    payloads = [record.pack(event) for event in given_events]
    assert read(b"".join(map(packing.frame, payloads)), sizes) == payloads


@pytest.mark.parametrize("behind", [b"", FRAME, FRAME * 100, FRAME * 400])
@pytest.mark.parametrize("size", [1000, 70_000, 1_000_000])
def test_a_header_of_gigantic_length_hides_nothing(behind, size):
    segment = FRAME + GIGANTIC + behind
    count = len(behind) // len(FRAME)
    payload = FRAME[records.HEADER_BYTES :]
    assert read(segment, [size]) == [payload, len(GIGANTIC), *[payload] * count]


@pytest.mark.parametrize("filler", [b"\0", b"\x92", b"\x92\xce", GIGANTIC, b"x" * 70_000 + b"\x92\xce"])
def test_memory_is_bounded(filler):
    size = 4096
    longest = size + records.HEADER_BYTES + packing.MAX_PAYLOAD_BYTES
    garbage = (filler * (300_000 // len(filler) + 1))[:300_000]
    pieces = list(read_(cut(garbage, [size] * 100)))
    lengths = [len(piece.data) for piece in pieces if isinstance(piece, Damage)]
    assert sum(lengths) == len(garbage)
    assert max(lengths) <= longest


@pytest.mark.parametrize("garbage", [b"x", b"\x92"])
def test_a_record_behind_damage_may_be_cut_anywhere(garbage):
    segment, payload = garbage + FRAME, FRAME[records.HEADER_BYTES :]
    for at in range(1, len(segment)):
        assert read(segment, [at, len(segment)]) == [len(garbage), payload], at
