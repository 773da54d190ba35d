"""Reads a segment: its records, and the damage between them, in bounded memory. Bytes in, values out.

After damage the reader searches for the next header whose checksum is right, so a torn or corrupt record
costs no other record. The emitter's ``record.py`` specifies the format.

This module never opens a file.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from zlib import crc32

from flwr_telemetry import packing, record
from flwr_telemetry.named import Generic, NamedTuple, TypeVar

_START = bytes([packing.ARRAY_2, packing.UINT_32])
_BINARY = {bytes([packing.BIN_16]), b""}  # or not in the buffer yet
_MAPS = {b"\x83", b"\xde", b"\xdf"}  # how a map of three may begin

T = TypeVar("T")


class Record(NamedTuple, Generic[T]):
    """A record that was read."""

    event: T
    """The event, ``date`` being an integer; or the value that the caller's ``decode`` makes of a payload."""
    size_bytes: int
    """The length in the segment, with the header."""


class Damage(NamedTuple):
    """Bytes that belong to no record."""

    data: bytes
    first: bool
    """Whether a new run of damage begins here. A long run comes in several pieces."""

    @property
    def size_bytes(self) -> int:
        """The length in the segment."""
        return len(self.data)


def read(chunks: Iterable[bytes]) -> Iterator[Record[record.Event] | Damage]:
    """The records and the damage in a segment, in order, in bounded memory.

    The sizes of all records and of all damage add up to the size of the segment.

    Args:
        chunks: the segment's bytes, cut anywhere.
    """
    return read_as(chunks, record.decode)


def read_as(chunks: Iterable[bytes], decode: Callable[[bytes], T]) -> Iterator[Record[T] | Damage]:
    """As ``read``. ``decode`` turns a payload into a value; it raises NotAnEventError if that is no event."""
    buffer = b""
    torn = False  # the piece before was damage
    no_more: tuple[bytes | None] = (None,)
    for chunk in itertools.chain(chunks, no_more):
        buffer += chunk or b""
        position = torn_from = 0
        while position < len(buffer):
            end, checksum = _header_at(buffer, position)
            if end > len(buffer) and chunk is not None:
                break  # the rest of the record may be in the next chunk
            start = position + packing.HEADER.size
            # Garbage full of headers must not cost a checksum over 64 KiB for each of them.
            if start < end <= len(buffer) and buffer[start : start + 1] in _MAPS:
                try:
                    payload = buffer[start:end]
                    values = (decode(payload), end - position) if crc32(payload) == checksum else None
                    found: Record[T] | None = Record._make(values) if values else None
                except record.NotAnEventError:
                    found = None
                if found:
                    if torn_from < position:
                        yield Damage(buffer[torn_from:position], first=not torn)
                    yield found
                    torn = False
                    position = torn_from = end
                    continue
            position = _next_start(buffer, position + 1)
        if torn_from < position:
            yield Damage(buffer[torn_from:position], first=not torn)
            torn = True
        buffer = buffer[position:]


def _header_at(buffer: bytes, position: int) -> tuple[int, int]:
    """Where the record ends whose header is here, and its checksum; 0 without a header.

    If the buffer ends within the header, the record ends beyond the buffer.
    """
    try:
        array, uint, checksum, binary, length = packing.HEADER.unpack_from(buffer, position)
    except struct.error:
        head = buffer[position:]
        is_header = _START.startswith(head[:2]) and head[6:7] in _BINARY
        return (len(buffer) + 1 if is_header else 0), 0
    is_header = array == packing.ARRAY_2 and uint == packing.UINT_32 and binary == packing.BIN_16
    return (position + packing.HEADER.size + length if is_header else 0), checksum


def _next_start(buffer: bytes, position: int) -> int:
    """Where the next record may begin, at most the end of the buffer."""
    start = buffer.find(_START, position)
    if start >= 0:
        return start
    # The last byte may be the first half of a start.
    return max(len(buffer) - buffer.endswith(_START[:1]), position)
