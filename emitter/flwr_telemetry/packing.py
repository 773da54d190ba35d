"""Makes records from events; ``record.py`` specifies their format, and reads them.

A first event makes its record by this module alone. It imports neither ``msgpack`` nor ``datetime``, which
would take as long to load as the rest of the emitter. So ``packed`` writes msgpack itself, which takes 2 µs
longer than msgpack's own ``Packer``. A process of many events loads that by ``packer()``.

This module never touches a file, a clock or the environment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from zlib import crc32

from .imports import undisturbed
from .named import Any

HEADER = struct.Struct(">BBIBH")
MAX_PAYLOAD_BYTES = 0xFFFF
ARRAY_2, UINT_32, BIN_16 = 0x92, 0xCE, 0xC5

# The years 1 to 9999, because datetime has to print the date.
MIN_DATE_US = -62_135_596_800_000_000
MAX_DATE_US = 253_402_300_799_999_999

UPLOAD = "upload"
"""A name in the context of an event that must never be sent; its value is false."""

NO_CONTEXT = (b"", b"")
"""Stands for the context in a payload that gets it later, by ``with_context``."""

_CONTEXT_HEAD = b"\xa7context"
_DATE_HEAD = b"\xa4date\xd3"
_DATE_BYTES = 8
_EVENT_TYPE_HEAD = b"\x83\xaaevent_type"
_DETAILS_HEAD = b"\xadevent_details"

_header = HEADER.pack
_pack_date = struct.Struct(">q").pack


def frame(payload: bytes) -> bytes:
    """One record around ``payload``.

    Raises:
        ValueError: the payload is longer than ``MAX_PAYLOAD_BYTES``.
    """
    size_bytes = len(payload)
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {size_bytes} bytes does not fit into a record")
    return _header(ARRAY_2, UINT_32, crc32(payload), BIN_16, size_bytes) + payload


def pairs(values: Mapping[str, Any]) -> bytes:
    """The names and values of a map, packed, without its head."""
    return b"".join([packed(name) + packed(value) for name, value in values.items()])


def context_parts(before_date: Mapping[str, Any], after_date: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The context's bytes around its date, packed once and used for many events."""
    count = len(before_date) + 1 + len(after_date)
    return _CONTEXT_HEAD + bytes([0x80 | count]) + pairs(before_date) + _DATE_HEAD, pairs(after_date)


def event_head(event_type: str) -> bytes:
    """The payload's bytes before the details, packed once and used for many events."""
    return _EVENT_TYPE_HEAD + packed(event_type) + _DETAILS_HEAD


def assemble(event_head: bytes, details: bytes, context: tuple[bytes, bytes], date_us: int) -> bytes:
    """A payload from packed parts; ``date_us`` in microseconds since the epoch."""
    return b"".join((event_head, details, context[0], _pack_date(date_us), context[1]))


def with_context(bare: bytes, context: tuple[bytes, bytes]) -> bytes:
    """A payload from one that was assembled with ``NO_CONTEXT``."""
    return b"".join((bare[:-_DATE_BYTES], context[0], bare[-_DATE_BYTES:], context[1]))


# msgpack

_INTEGERS = (
    (0, 0x7F, "b", b""),
    (-0x20, -1, "b", b""),
    (0, 0xFF, "B", b"\xcc"),
    (0, 0xFFFF, "H", b"\xcd"),
    (0, 0xFFFF_FFFF, "I", b"\xce"),
    (0, 0xFFFF_FFFF_FFFF_FFFF, "Q", b"\xcf"),
    (-0x80, -1, "b", b"\xd0"),
    (-0x8000, -1, "h", b"\xd1"),
    (-0x8000_0000, -1, "i", b"\xd2"),
    (-0x8000_0000_0000_0000, -1, "q", b"\xd3"),
)
"""Each form of an integer: its least and its greatest value, its width, and the mark before it."""


def packed(value: Any) -> bytes:
    """A value of exact JSON types in msgpack, as ``packer()`` packs it.

    Raises:
        OverflowError: an integer is beyond 64 bits.
        UnicodeEncodeError: a text has a lone surrogate.
        TypeError: a value has another type.
    """
    kind = type(value)
    if kind is str:
        text: bytes = value.encode()
        return _head(len(text), 0xA0, 0x1F, (0xD9, 0xDA, 0xDB)) + text
    if value is None or kind is bool:
        return b"\xc0" if value is None else b"\xc3" if value else b"\xc2"
    if kind is int:
        for least, greatest, width, mark in _INTEGERS:
            if least <= value <= greatest:
                return mark + struct.pack(f">{width}", value)
        raise OverflowError("an integer beyond 64 bits")
    if kind is float:
        return struct.pack(">Bd", 0xCB, value)
    if kind is dict:
        return _head(len(value), 0x80, 0x0F, (None, 0xDE, 0xDF)) + pairs(value)
    if kind is list:
        return _head(len(value), 0x90, 0x0F, (None, 0xDC, 0xDD)) + b"".join(map(packed, value))
    raise TypeError(f"a value of type {kind.__name__}")


def _head(size: int, short: int, most: int, marks: tuple[int | None, int, int]) -> bytes:
    """The first bytes of a text or container in msgpack: its kind and its size."""
    if size <= most:
        return bytes((short | size,))
    for mark, width, bits in zip(marks, "BHI", (8, 16, 32), strict=True):
        if mark is not None and size < 1 << bits:
            return struct.pack(f">B{width}", mark, size)
    raise OverflowError("a text or container of more than 32 bits")


@undisturbed
def packer() -> Callable[[], Callable[[Any], bytes]]:
    """Import ``msgpack``; each call of the result makes a function like ``packed``, for one thread."""
    from msgpack import Packer

    return lambda: Packer().pack
