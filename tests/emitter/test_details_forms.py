"""Details: the values that count as JSON, the refused ones, and the form of an event type."""

from collections import UserDict
from enum import IntEnum, StrEnum
from types import MappingProxyType

import msgpack
import pytest

from flwr_telemetry import details, record
from flwr_telemetry.details import MAX_DETAILS_BYTES, DetailsEncoder
from flwr_telemetry.errors import InvalidEventError
from flwr_telemetry.redaction import Redactor
from tests.support.strategies import packed

NOBODY = Redactor((), ())
SOMEBODY = Redactor(["zquill"], [])


def through(value):
    """Give these details as they are after packing."""
    return msgpack.unpackb(DetailsEncoder(NOBODY).packed(value))


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return "loud"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, {}),
        (MappingProxyType({"a": (1, (2,))}), {"a": [1, [2]]}),
        (UserDict({"a": UserDict({"b": 1})}), {"a": {"b": 1}}),
        ({Colour.RED: Colour.RED, "n": Level.HIGH}, {"red": "red", "n": 3}),
        ({"a": Loud("quiet")}, {"a": "quiet"}),
        ({"a": True, "b": 2**64 - 1, "c": -(2**63)}, {"a": True, "b": 2**64 - 1, "c": -(2**63)}),
    ],
)
def test_kin_of_json_types_become_exact(value, plain):
    assert packed(through(value)) == packed(plain)


def _deep(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def _endless():
    value = {}
    value["a"] = [value]
    return value


SECRET = "quite-secret"
REFUSED = {
    "list": [SECRET],
    "text": SECRET,
    "number": 7,
    "nan": {SECRET: float("nan")},
    "infinity": {SECRET: [float("inf")]},
    "set": {SECRET: {SECRET}},
    "bytes": {SECRET: SECRET.encode()},
    "object": {SECRET: object()},
    "timestamp": {SECRET: msgpack.Timestamp(1)},
    "number_as_key": {1: SECRET},
    "number_as_inner_key": {"a": [{1: SECRET}]},
    "none_as_key": {None: SECRET},
    "too_great": {SECRET: 2**64},
    "too_small": {"a": [-(2**63) - 1, SECRET]},
    "surrogate": {"a": f"{SECRET}\ud800"},
    "surrogate_in_key": {"a": {f"{SECRET}\udfff": 1.0}},
    "too_deep": _deep(record.MAX_DEPTH + 1),
    "endless": _endless(),
    "too_long": {"a": SECRET * 1000},
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_json_cannot_say_is_refused(value):
    """The refusal is of our tree and does not quote the caller."""
    with pytest.raises(InvalidEventError) as caught:
        DetailsEncoder(SOMEBODY).packed(value)
    assert SECRET not in str(caught.value)


def test_the_deepest_and_the_longest_details():
    assert through(_deep(record.MAX_DEPTH)) == _deep(record.MAX_DEPTH)
    room = MAX_DETAILS_BYTES - len(packed({"a": "x" * 5000})) + 5000
    assert len(DetailsEncoder(NOBODY).packed({"a": "x" * room})) == MAX_DETAILS_BYTES
    for value, redactor in (({"a": "x" * (room + 1)}, NOBODY), ({"a": "zquill " * (room // 7)}, SOMEBODY)):
        with pytest.raises(InvalidEventError, match="at most 8192"):
            DetailsEncoder(redactor).packed(value)


class _Member(StrEnum):
    PING = "PING"


def test_what_was_found_fine_is_not_searched_again(monkeypatch):
    """Details with a name, long ones and those beyond the cache are searched each time."""
    searched = []
    monkeypatch.setattr(
        Redactor, "may_hold", lambda _self, packed: bool(searched.append(packed)) or b"z" in packed
    )
    subject = details.DetailsEncoder(SOMEBODY)
    for value, searches in ({"n": 1}, 1), ({"a": "zquill"}, 2), ({"a": "x" * 300}, 2), ({"a": [1]}, 2):
        searched.clear()
        assert subject.packed(value) == subject.packed(dict(value))
        assert len(searched) == searches
    for value in {"n": 2**64}, {"a": "\ud800"}, {"a": "x" * MAX_DETAILS_BYTES}:
        for _ in range(2):
            with pytest.raises(InvalidEventError):
                subject.packed(value)
    pack = subject._pack
    with pytest.raises(InvalidEventError):
        subject.packed({"a": "x" * 100_000})
    assert subject._pack is not pack  # its buffer would have stayed so large
    for number in range(1000):
        subject.packed({"n": number})
    assert len(subject._fine) == 256


@pytest.mark.parametrize("event_type", ["A", "PING", "A" * 64, "A_9", _Member.PING, Loud("PING")])
def test_event_types(event_type):
    name = details.event_type_name(event_type)
    assert type(name) is str
    assert name == str.__str__(event_type)
