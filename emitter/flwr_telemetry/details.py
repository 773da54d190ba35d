"""Checks, redacts and packs the event type and the details that a caller gives.

Details leave this module only if JSON can express them and if they are no larger than ``MAX_DETAILS_BYTES``.
``redaction.py`` replaces the names in them. This module is pure: it asks neither the system nor a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import record
from .errors import InvalidEventError
from .redaction import Redactor

MAX_DETAILS_BYTES = 8 * 1024

_NONE = b"\x80"
"""An empty map, packed."""

_MAX_FINE, _MAX_FINE_BYTES = 256, 256
"""At most so many packed details, and none longer, are remembered as free of names and paths."""

_MAX_TYPE_LENGTH = 64
_CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_IN_TYPES = _CAPITALS | frozenset("0123456789_")
_PLAIN = frozenset({str, bool, int, type(None)})


def event_type_name(event_type: object) -> str:
    """The plain name of an event type: a member of an ``EventType`` enum, or a string of its form.

    Raises:
        InvalidEventError: it is neither.
    """
    if not isinstance(event_type, str):
        raise InvalidEventError(f"an event type is an EventType or a string, not {type(event_type).__name__}")
    # The string of a str enum's member is its value; str() would give the name of the member instead.
    name = str.__str__(event_type)
    # No regular expression: compiling one costs as much as a hundred events.
    if name[:1] not in _CAPITALS or len(name) > _MAX_TYPE_LENGTH or not _IN_TYPES.issuperset(name):
        raise InvalidEventError("an event type is 1 to 64 of A-Z, 0-9 and _, beginning with a letter")
    return name


class DetailsEncoder:
    """Packs the details of a process; fast, because a process reports the same few details repeatedly.

    Args:
        redactor: replaces the names and paths that must not leave.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pack = record.packer()
        self._fine: set[bytes] = set()

    def packed(self, details: object) -> bytes:
        """The details as msgpack, checked and redacted; details that were safe before are not searched again.

        Args:
            details: a mapping of JSON-like values (tuples count as lists), or None for an empty one.

        Raises:
            InvalidEventError: they are not JSON-like, or larger than ``MAX_DETAILS_BYTES`` once packed.
        """
        if details is None:
            return _NONE
        if type(details) is dict:
            for name, item in details.items():
                if type(name) is not str or type(item) not in _PLAIN:
                    break
            else:
                try:
                    packed = self._pack(details)
                except (ValueError, OverflowError):
                    pass  # the code below tells the reason
                else:
                    return packed if packed in self._fine else self._checked(details, packed)
        try:
            plain = _plain(details)
            packed = record.pack(plain)
        except (ValueError, OverflowError, TypeError, RecursionError) as error:
            # The codec's own message quotes the offending text, which must not get into a log.
            reason = "text with a lone surrogate" if isinstance(error, UnicodeError) else error
            raise InvalidEventError(f"event_details must be a JSON-like mapping: {reason}") from error
        return self._checked(plain, packed)

    def _checked(self, details: object, packed: bytes) -> bytes:
        """The packed details without names and paths that identify; raises InvalidEventError if too large."""
        safe = record.pack(self._redactor.redact(details)) if self._redactor.may_hold(packed) else packed
        if len(safe) > MAX_DETAILS_BYTES:
            self._pack = record.packer()  # the buffer of the old one would stay this large
            msg = f"event_details take {len(safe)} bytes; at most {MAX_DETAILS_BYTES} are accepted"
            raise InvalidEventError(msg)
        if safe == packed and len(packed) <= _MAX_FINE_BYTES and len(self._fine) < _MAX_FINE:
            self._fine.add(packed)
        return safe


def _plain(details: object) -> dict[str, Any]:
    """A copy of ``details`` made of exact JSON types."""
    if not isinstance(details, Mapping):
        raise TypeError(f"a {type(details).__name__} is no mapping")
    copy = _exact(details, record.MAX_DEPTH)
    record.check_json(copy)
    return copy  # type: ignore[no-any-return]


def _exact(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError(f"nested deeper than {record.MAX_DEPTH}")
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_exact(name, depth): _exact(item, depth - 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(item, depth - 1) for item in value]
    return value
