"""Checks, redacts and packs the event type and the details that a caller gives.

Details leave this module only if JSON can express them and if they are no larger than ``MAX_DETAILS_BYTES``.
``redaction.py`` replaces the names in them. This module is pure: it asks neither the system nor a clock.

A caller may give any object: an endless mapping, lists that share their parts, a text of gigabytes. Copying
stops at a budget. So a refusal costs no more than the largest details that are accepted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from . import packing
from .errors import InvalidEventError, reraise_from_handler
from .named import Any

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .redaction import Redactor

MAX_DETAILS_BYTES = 8 * 1024
MAX_DEPTH = 100
"""The deepest nesting of containers. It equals that of ``record.py``, which a first event does not import."""

# A packed value takes at least one byte, and redaction never removes a value. A character takes at least one
# byte, too, but redaction may shorten a text. So a budget of four times the limit refuses nothing that the
# limit accepts.
_VALUE_COST = 4
_BUDGET = _VALUE_COST * MAX_DETAILS_BYTES
_MAX_BITS = 64

_NONE = b"\x80"
"""An empty map, packed."""

_MAX_SAFE, _MAX_SAFE_BYTES = 256, 256
"""The largest number, and the largest size, of packed details that are remembered as safe."""

MAX_TYPE_LENGTH = 64
_CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_IN_TYPES = _CAPITALS | frozenset("0123456789_")
_PLAIN = frozenset({bool, int, type(None)})


def event_type_name(event_type: object) -> str:
    """The plain name of an event type: a member of an ``EventType`` enum, or a string of its form.

    Raises:
        InvalidEventError: it is neither.
    """
    if not issubclass(type(event_type), str):  # `isinstance` may run code of the object's class
        raise InvalidEventError(f"an event type is an EventType or a string, not {type(event_type).__name__}")
    if str.__len__(event_type) <= MAX_TYPE_LENGTH:  # type: ignore[arg-type]
        # The string of a str enum's member is its value; str() would give the name of the member instead.
        name = str.__str__(event_type)
        # No regular expression: compiling one costs as much as a hundred events.
        if name[:1] in _CAPITALS and _IN_TYPES.issuperset(name):
            return name
    raise InvalidEventError("an event type is 1 to 64 of A-Z, 0-9 and _, beginning with a letter")


class DetailsEncoder:
    """Packs the details of a process. It remembers safe ones, because a process repeats a few of them.

    Args:
        redactor: replaces the names and paths that must not leave. If it is None, they are not known, and
            all details are left out, because they might hold one.
    """

    def __init__(self, redactor: Redactor | None) -> None:
        self._redactor = redactor
        self._packer: Callable[[], Callable[[Any], bytes]] = lambda: packing.packed
        self._pack: Callable[[Any], bytes] = packing.packed
        self._safe: set[bytes] = set()

    def use_msgpack(self) -> None:
        """Pack by msgpack from now on, which is faster; raises as imports do."""
        if self._pack == packing.packed:
            self._packer = packing.packer()
            self._pack = self._packer()

    def packed(self, details: object) -> bytes:
        """The details as msgpack, checked and redacted; details that were safe before are not searched again.

        Args:
            details: a mapping of JSON-like values (tuples count as lists), or None for an empty one.

        Raises:
            InvalidEventError: they are not JSON-like, or larger than ``MAX_DETAILS_BYTES`` once packed.
        """
        if details is None:
            return _NONE
        if type(details) is dict and len(details) < MAX_DETAILS_BYTES:
            details = details.copy()  # because another thread may change the caller's details meanwhile
            left, packed = _BUDGET, b""
            try:
                for name, item in details.items():
                    if type(name) is not str:
                        break
                    if type(item) is str:
                        left -= len(item)
                    elif type(item) not in _PLAIN:
                        break
                    left -= len(name)
                else:
                    packed = self._pack(details) if left >= 0 else b""
            except (ValueError, OverflowError):
                pass  # the copy below tells the reason
            if packed:
                return packed if packed in self._safe else self._checked(details, packed)
        plain = copied(details)
        return self._checked(plain, self._pack(plain))

    def _checked(self, details: object, packed: bytes) -> bytes:
        """The packed details without names and paths that identify; raises InvalidEventError if too large."""
        if self._redactor is None:
            return _NONE
        safe = self._pack(self._redactor.redact(details)) if self._redactor.may_hold(details) else packed
        if len(safe) > MAX_DETAILS_BYTES:
            self._pack = self._packer()  # the buffer of the old one would stay this large
            raise _too_large()
        if safe == packed and len(packed) <= _MAX_SAFE_BYTES and len(self._safe) < _MAX_SAFE:
            self._safe.add(packed)
        return safe


def copied(details: object) -> dict[str, Any]:
    """A copy of details made of exact JSON types, so that nothing which the caller does later changes it.

    Args:
        details: a mapping of JSON-like values (tuples count as lists), or None for an empty one.

    Raises:
        InvalidEventError: they are not JSON-like, or far larger than ``MAX_DETAILS_BYTES``. The message
            names types alone, and quotes nothing of the details.
    """
    if details is None:
        return {}
    try:
        if isinstance(details, Mapping):
            return _exact(details, MAX_DEPTH, [_BUDGET])  # type: ignore[no-any-return]
        reason = f"a {type(details).__name__} is no mapping"
    except RecursionError:
        reason = "they are nested too deep for this place in the program"
    except InvalidEventError:
        raise
    except Exception as error:  # noqa: BLE001 - the caller's own code, whose text must not be quoted
        reraise_from_handler()
        has_changed = isinstance(error, RuntimeError)
        reason = f"reading them raised {type(error).__name__}"
        reason = "they change while they are read; pass a copy" if has_changed else reason
    raise _refused(reason)


def _exact(value: Any, depth: int, left: list[int]) -> Any:
    """An exact copy of one value; ``depth`` more containers may be nested. ``left`` holds the budget."""
    left[0] -= _VALUE_COST
    if left[0] < 0:
        raise _too_large()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _exact_text(value, left)
    if isinstance(value, (int, float)):
        return _exact_number(value)
    is_list = isinstance(value, (list, tuple))  # first, because `Mapping` asks in Python
    if not is_list and not isinstance(value, Mapping):
        raise _refused(f"a value of type {type(value).__name__}")
    if depth <= 0:
        raise _refused(f"nested deeper than {MAX_DEPTH}")
    if is_list:
        return [_exact(item, depth - 1, left) for item in value]
    # Not the `items` of another class, which may build all of them at once.
    items = value.items() if type(value) is dict else ((name, value[name]) for name in value)
    copy = {}
    for name, item in items:
        if not isinstance(name, str):
            raise _refused("a key that is no string")
        left[0] -= _VALUE_COST
        copy[_exact_text(name, left)] = _exact(item, depth - 1, left)
    return copy


def _exact_number(number: float) -> float:
    # The methods of the exact types, because a subclass may have its own.
    if isinstance(number, float):
        if not math.isfinite(fraction := float.__float__(number)):
            raise _refused("NaN or an infinity")
        return fraction
    if int.bit_length(number) > _MAX_BITS or (exact := int.__int__(number)) < -(2**63):
        raise _refused("an integer beyond 64 bits")
    return exact


def _exact_text(text: str, left: list[int]) -> str:
    left[0] -= str.__len__(text)
    if left[0] < 0:
        raise _too_large()
    exact = str.__str__(text)
    if not exact.isascii() and _has_surrogate(exact):
        raise _refused("text with a lone surrogate")
    return exact


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _refused(reason: str) -> InvalidEventError:
    return InvalidEventError(f"event_details must be a JSON-like mapping: {reason}")


def _too_large() -> InvalidEventError:
    msg = f"event_details are too large; at most {MAX_DETAILS_BYTES} bytes are accepted, once encoded"
    return InvalidEventError(msg)
