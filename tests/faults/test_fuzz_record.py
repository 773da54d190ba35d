"""Fuzz of the record reader. An input is a program: it lays intact, torn, bent and doubled records, and junk.

Whatever it makes, the reader

- raises nothing and gives back every byte once, as a record or as damage, in order;
- gives the same whatever the chunks are;
- finds every intact record, in order;
- gives nothing as a record whose frame does not stand there, checksum and all.

`FUZZ_EXAMPLES=1000000` tries more. What that finds becomes an example in `tests/daemon/spool/test_reader.py`.
"""

import os

from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry import record
from flwr_telemetryd.spool import reader
from tests.support import records, strategies

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "700"))
_WHOLE = [
    records.encode(event)
    for event in (
        *records.series(3),
        records.sample({"text": "x" * 700}),
        records.sample({"frame": records.encode(records.sample({"n": 9})).hex()}),
        records.sample({"a": {"b": [1, 2.5, None, True, "\u00e9"]}}, date_us=-1),
    )
]
_STARTS = [b"\x92", b"\x92\xce", b"\x92\xce\0\0\0\0\xc5", b"\x92\xce\0\0\0\0\xc5\xff\xff"]
_MOST_STEPS = 40
_SMALL_BYTES = 8192


class Tape:
    """The bytes of an input, taken one after the other; zeros at their end."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def __bool__(self):
        return self._at < len(self._data)

    def number(self, below):
        taken = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(taken.ljust(2, b"\0")) % below

    def some(self, most):
        length = self.number(most + 1)
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken


def lay(tape):
    parts = []
    intact = []
    for _ in range(_MOST_STEPS):
        if not tape:
            break
        step, whole = tape.number(6), _WHOLE[tape.number(len(_WHOLE))]
        if step == 0:
            intact.append(whole)
            parts.append(whole)
        elif step == 1:
            parts.append(whole[: tape.number(len(whole))])
        elif step == 2:
            at = tape.number(len(whole))
            parts.append(whole[:at] + bytes([whole[at] ^ (1 + tape.number(255))]) + whole[at + 1 :])
        elif step == 3:
            parts.append(_STARTS[tape.number(len(_STARTS))])
        elif step == 4:
            # A checksum that holds over something that fuzz made: an event only by a miracle.
            parts.append(records.frame(tape.some(300)))
        else:
            parts.append(tape.some(64) * (1 + tape.number(64)))
    return b"".join(parts), intact


def cut(segment, tape):
    at, rest = 0, 1 + len(segment) % 13 if len(segment) < _SMALL_BYTES else 1000
    while at < len(segment):
        size = tape.number(2000) if tape else rest
        yield segment[at : at + size]
        at += size


def _frames(segment, pieces):
    """Give the bytes of every record that was read; each byte of the segment must be told once."""
    at = 0
    for piece in pieces:
        if isinstance(piece, reader.Damage):
            assert segment[at : at + len(piece.data)] == piece.data, "damage that is not there"
            assert piece.data, "damage of nothing"
            at += len(piece.data)
            continue
        frame = segment[at : at + piece.size_bytes]
        (payload,) = records.split(frame)
        assert record.decode(payload) == piece.event
        at += piece.size_bytes
        yield frame
    assert at == len(segment), "bytes are left out"


@strategies.tried(EXAMPLES)
@given(
    st.binary(max_size=400)
    | st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 900)), max_size=30).map(
        lambda steps: b"".join(number.to_bytes(2) for step in steps for number in step)
    )
)
def test_whatever_lies_in_a_segment(data):
    """The second strategy mostly lays something that is or was a record, which random bytes seldom do."""
    tape = Tape(data)
    segment, intact = lay(tape)
    pieces = list(reader.read([segment]))
    found = list(_frames(segment, pieces))
    left = iter(found)
    assert all(whole in left for whole in intact), "an intact record is not found"
    chunked = list(reader.read(cut(segment, tape)))
    assert list(_frames(segment, chunked)) == found, "the chunks change what is found"
    runs = [
        sum(isinstance(piece, reader.Damage) and piece.first for piece in each) for each in (pieces, chunked)
    ]
    assert runs[0] == runs[1], "the chunks change how much damage is counted"
