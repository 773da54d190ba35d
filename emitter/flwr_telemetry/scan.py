"""Reads the records and the damage in the bytes of a segment, in order and in bounded memory.

After damage, the reader searches for the next header whose checksum is right. So a torn or corrupt record
costs no other record (see ``record.py``). This module never touches a file.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar
from zlib import crc32

from . import record

_START = b"\x92\xce"
_MAPS = {b"\x83", b"\xde", b"\xdf"}  # the possible first bytes of a map of three

T = TypeVar("T")


class Record(NamedTuple, Generic[T]):
    """A record that was read."""

    event: T
    """The decoded payload; an event with an integer ``date``, unless the caller decodes otherwise."""
    size_bytes: int
    """The length in the segment, with the header."""


class Damage(NamedTuple):
    """A run of bytes that belong to no record, or a piece of a long run."""

    data: bytes
    first: bool
    """Whether this is the first piece of its run."""


def read(chunks: Iterable[bytes]) -> Iterator[Record[record.Event] | Damage]:
    """The records and the damage in a segment, in order, in bounded memory.

    Args:
        chunks: the segment's bytes, cut anywhere.

    The sizes of all records and pieces add up to the size of the segment.
    """
    return read_as(chunks, record.decode)


def read_as(chunks: Iterable[bytes], decode: Callable[[bytes], T]) -> Iterator[Record[T] | Damage]:
    """The same with another decoder; ``decode`` raises NotAnEventError for a payload that is no event."""
    buffer = b""
    at_end = False
    torn = False  # whether damage was yielded last
    source = iter(chunks)
    while not at_end:
        chunk = next(source, None)
        at_end = chunk is None
        buffer += chunk or b""
        position = torn_from = 0
        while position < len(buffer):
            start = position + record.HEADER.size
            end = None
            if start <= len(buffer):
                array, uint, checksum, binary, length = record.HEADER.unpack_from(buffer, position)
                if array == record.ARRAY_2 and uint == record.UINT_32 and binary == record.BIN_16:
                    end = start + length
            if end is not None and end <= len(buffer):
                # Garbage may be full of headers; not each of them must cost a checksum over 64 KiB.
                if buffer[start : start + 1] in _MAPS and crc32(payload := buffer[start:end]) == checksum:
                    try:
                        whole = Record(decode(payload), end - position)
                    except record.NotAnEventError:
                        pass
                    else:
                        if torn_from < position:
                            yield Damage(buffer[torn_from:position], first=not torn)
                        yield whole
                        torn = False
                        position = torn_from = end
                        continue
            elif not at_end and (end is not None or _may_begin(buffer, position)):
                break  # the rest of it may be in the next chunk
            position = _next_start(buffer, position + 1, at_end=at_end)
        if torn_from < position:
            yield Damage(buffer[torn_from:position], first=not torn)
            torn = True
        buffer = buffer[position:]


def _next_start(buffer: bytes, position: int, *, at_end: bool) -> int:
    """The next position where a record may begin; the end of the buffer if there is none."""
    start = buffer.find(_START, position)
    if start >= 0:
        return start
    # The last byte may be the first half of a header's start.
    keep = 1 if not at_end and buffer.endswith(_START[:1]) else 0
    return max(len(buffer) - keep, position)


def _may_begin(buffer: bytes, position: int) -> bool:
    """Whether the last bytes of the buffer may be the beginning of a header."""
    rest = buffer[position : position + record.HEADER.size]
    if len(rest) == record.HEADER.size:
        return False
    pattern = ((0, record.ARRAY_2), (1, record.UINT_32), (6, record.BIN_16))
    return all(rest[index] == byte for index, byte in pattern if index < len(rest))
