"""Details: the values that count as JSON, the refused ones, and the form of an event type."""

import sys
import traceback
import tracemalloc
from collections import UserDict
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from itertools import count
from types import MappingProxyType

import msgpack
import pytest

from flwr_telemetry import emit, log, record
from flwr_telemetry.details import MAX_DETAILS_BYTES, DetailsEncoder
from flwr_telemetry.errors import InvalidEventError
from flwr_telemetry.redaction import Redactor
from tests.support.strategies import packed

NOBODY = Redactor((), ())
SOMEBODY = Redactor(["zquill"], [])


def through(value):
    return msgpack.unpackb(DetailsEncoder(NOBODY).packed(value))


Colour, Level = StrEnum("Colour", {"RED": "red"}), IntEnum("Level", {"HIGH": 3})


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
    return {"a": _deep(depth - 1)} if depth > 1 else {}


ENDLESS_DICT = {}
ENDLESS_DICT["a"] = [ENDLESS_DICT]
SECRET = "quite-secret"
NO_JSON = [float("nan"), [float("inf")], {SECRET}, SECRET.encode(), object(), msgpack.Timestamp(1), 2**64]
REFUSED = [
    *([SECRET], SECRET, 7),
    *({SECRET: value} for value in NO_JSON),
    *({1: SECRET}, {"a": [{1: SECRET}]}, {None: SECRET}),
    {"a": [-(2**63) - 1, SECRET]},
    *({"a": f"{SECRET}\ud800"}, {"a": {f"{SECRET}\udfff": 1.0}}),
    *(_deep(record.MAX_DEPTH + 1), ENDLESS_DICT, {"a": SECRET * 1000}),
]


class Evil(UserDict):
    def __init__(self, error):
        super().__init__({SECRET: SECRET})
        self.error = error

    def __getitem__(self, name):
        raise self.error(f"{name}: {SECRET}")


class EvilText(str):
    __slots__ = ()

    def __str__(self):
        raise ValueError(SECRET)

    __len__ = encode = __str__


class EvilNumber(int):
    def __int__(self):
        raise OverflowError(SECRET)

    __index__ = __str__ = bit_length = __int__


ERRORS = KeyError, ValueError, RuntimeError, RecursionError, OSError, LookupError, TypeError
EVIL = [
    *REFUSED,
    *map(Evil, ERRORS),
    *({SECRET: Evil(error)} for error in ERRORS),
    {SECRET: {SECRET: [Evil(ZeroDivisionError)]}},
    {SECRET: EvilText(SECRET + "\ud800")},
    {EvilText(SECRET): {1}},
    {SECRET: EvilNumber(2**70)},
    {SECRET: type("Odd", (), {"__repr__": lambda _: SECRET})()},
]


def test_nothing_that_is_refused_is_quoted(home, caplog, monkeypatch):
    """Neither in the message, nor in a cause, in the variables of a frame, or in a line of the log."""
    monkeypatch.setattr(log, "_warned", set())
    for number, value in enumerate(EVIL):
        error = emit.event("PING", value).exception()
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert isinstance(error, InvalidEventError), number
        assert SECRET not in "".join(shown.format()) + repr(error) + str(error.args)
        assert error.__cause__ is error.__context__ is None
    for kind in f"{SECRET} x", SECRET, EvilText(SECRET):
        assert SECRET not in str(emit.event(kind).exception())
    assert caplog.records
    assert SECRET not in caplog.text


def test_the_deepest_and_the_longest_details():
    assert through(_deep(record.MAX_DEPTH)) == _deep(record.MAX_DEPTH)
    room = MAX_DETAILS_BYTES - len(packed({"a": "x" * 5000})) + 5000
    assert len(DetailsEncoder(NOBODY).packed({"a": "x" * room})) == MAX_DETAILS_BYTES
    for value, redactor in (({"a": "x" * (room + 1)}, NOBODY), ({"a": "zquill " * (room // 7)}, SOMEBODY)):
        with pytest.raises(InvalidEventError, match="at most 8192"):
            DetailsEncoder(redactor).packed(value)


def test_little_is_remembered():
    """Few details, short ones without a name, and no buffer of details that were too large."""
    subject = DetailsEncoder(SOMEBODY)
    subject.use_msgpack()
    pack = subject._pack
    with pytest.raises(InvalidEventError):
        subject.packed({"a": "x" * 20_000})
    assert subject._pack is not pack
    for value in ({"a": "zquill"}, {"a": "x" * 300}, {"a": [1]}, *({"n": number} for number in range(1000))):
        assert subject.packed(value) == subject.packed(dict(value))
    assert len(subject._safe) == 256
    assert max(map(len, subject._safe)) < 256


class Endless(Mapping):
    def __init__(self, key="k{}"):
        self.key, self.asked = key, 0

    def __getitem__(self, name):
        return 1

    def __len__(self):
        return 1

    def __iter__(self):
        for self.asked in count(1):
            yield self.key.format(self.asked)

    def items(self):
        raise AssertionError("a class may build all of them")


class Unending(list):
    def __len__(self):
        return 1

    def __iter__(self):
        return count()


SHARED = 1
for _ in range(60):
    SHARED = [SHARED, SHARED]
LONG = "x" * (8 << 20)


class Short(str):
    """Says that it is short."""

    __slots__ = ()

    def __len__(self):
        return 1


ENDLESS = {
    "mapping": Endless(),
    "inner_mapping": {"a": [Endless()]},
    "the_same_key": Endless("k"),
    "list": {"a": Unending()},
    "numbers": {"a": list(range(10**5))},
    "texts": {"a": ["x" * 100] * 10**5},
    "keys": {str(number): number for number in range(10**5)},
    "shared": {"a": SHARED},
    "long_text": {"a": LONG},
    "long_texts": {str(number): LONG for number in range(100)},
    "long_key": {LONG: 1},
    "inner_long_key": {"a": {LONG: 1}},
    "text_of_a_class": {"a": Short(LONG)},
    "huge_number": {"a": 1 << (1 << 24)},
    "inner_huge_number": {"a": [1 << (1 << 24)]},
    "generator": {"a": (number for number in count())},
    "tuples": {"a": ((),) * 10**5},
}


@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS)
def test_a_refusal_costs_no_more_than_the_largest_event(value):
    """It takes no more calls and memory than 8192 values or a text of 32 KiB, however large the rest is."""
    calls = count()
    subject = DetailsEncoder(SOMEBODY)
    tracemalloc.start()
    sys.setprofile(lambda *_: next(calls))
    try:
        with pytest.raises(InvalidEventError):
            subject.packed(value)
    finally:
        sys.setprofile(None)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert next(calls) < 30 * MAX_DETAILS_BYTES
    assert peak_bytes < 100 * MAX_DETAILS_BYTES


def test_the_budget_refuses_nothing_that_the_limit_accepts():
    """Most values of one byte, and most letters, that fit; a text too long may become short by redaction."""
    values = MAX_DETAILS_BYTES - 6
    for item in ([0] * values, ["x" * 2000] * 4, [[]] * values, {f"{n:x}": None for n in range(1300)}):
        assert through({"a": item}) == {"a": item}
    long = Redactor(["z" * 200], [])
    text = msgpack.unpackb(DetailsEncoder(long).packed({"a": ("z" * 200 + " ") * 100}))
    assert text == {"a": "<redacted> " * 100}


def test_details_that_another_thread_changes():
    """They are taken as they are at one moment, or refused; never an error that is unexpected."""

    class Changing(dict):
        def __iter__(self):
            for name in super().__iter__():
                self["b"] = 1
                yield name

    with pytest.raises(InvalidEventError, match="change while they are read"):
        DetailsEncoder(NOBODY).packed({"a": Changing(a=1)})


def test_an_object_whose_class_fails_is_refused_by_its_type(home):
    """`isinstance` asks an object for its class. What that raises is the caller's, and no defect of ours."""

    class Failing:
        @property
        def __class__(self):
            raise LookupError("zquill")

    for arguments in (
        ("A", Failing()),
        ("A", {"a": Failing()}),
        ("A", {"a": [{"b": Failing()}]}),
        (Failing(),),
    ):
        error = emit.event(*arguments).exception()
        assert type(error) is InvalidEventError
        assert "zquill" not in str(error)
