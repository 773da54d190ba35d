"""A segment is read: records in order, and what is none, in bounded memory. Bytes in, values out.

A reader that meets damage looks for the next header whose checksum holds, so that a torn or corrupt record
costs itself and no other (``record.py``).

This room must never touch a file.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar
from zlib import crc32

from . import record

_START = b"\x92\xce"
_MAPS = {b"\x83", b"\xde", b"\xdf"}  # how a map of three may begin

T = TypeVar("T")


class Record(NamedTuple, Generic[T]):
    """A record that was read.

    Attributes:
        event: what it says, ``date`` being an integer; or what else the reader makes of a payload.
        size_bytes: its length in the segment, header and all.
    """

    event: T
    size_bytes: int


class Damage(NamedTuple):
    """A run of bytes that belong to no record.

    Attributes:
        data: the bytes; a long run comes in several pieces, ``first`` being true for one of them.
        first: whether a new run begins here.
    """

    data: bytes
    first: bool


def read(chunks: Iterable[bytes]) -> Iterator[Record[record.Event] | Damage]:
    """The records and the damage in a segment, in order, in bounded memory.

    Args:
        chunks: the segment's bytes, cut anywhere.

    The sizes of all that is given add up to the size of the segment.
    """
    return read_as(chunks, record.decode)


def read_as(chunks: Iterable[bytes], decode: Callable[[bytes], T]) -> Iterator[Record[T] | Damage]:
    """The same, by what ``decode`` makes of a payload whose checksum holds; NotAnEventError if it is none."""
    buffer = b""
    at_end = False
    torn = False  # the last thing yielded was damage
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
                # Garbage full of headers must not cost a checksum over 64 KiB for each of them.
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
    """Where the next record may begin; the end of the buffer if nowhere in it."""
    start = buffer.find(_START, position)
    if start >= 0:
        return start
    # The last byte may be the first half of a start.
    keep = 1 if not at_end and buffer.endswith(_START[:1]) else 0
    return max(len(buffer) - keep, position)


def _may_begin(buffer: bytes, position: int) -> bool:
    """Whether the last bytes of the buffer may be the beginning of a header."""
    rest = buffer[position : position + record.HEADER.size]
    if len(rest) == record.HEADER.size:
        return False
    pattern = ((0, record.ARRAY_2), (1, record.UINT_32), (6, record.BIN_16))
    return all(rest[index] == byte for index, byte in pattern if index < len(rest))
