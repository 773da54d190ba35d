"""A body's file: it is read within bounds, and damage is recognized."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.outbox import body
from tests.support import records, strategies, wire
from tests.support.bodies import coalesce

EVENTS = [to_wire(event) for event in records.series(3)]
(BURST,) = coalesce(EVENTS)
(PLAIN,) = coalesce(EVENTS[:1])
KEY = wire.key_of(BURST)


@strategies.tried(400)
@given(st.integers(0, 8 * len(BURST) - 1))
def test_no_bent_bit_of_a_burst_is_sent(bit):
    bent = bytearray(BURST)
    bent[bit // 8] ^= 1 << bit % 8
    assert body.intact(KEY, BURST) == json.loads(BURST)
    assert body.intact(KEY, bytes(bent)).get("burst") is None


NO_BURSTS = [None, {"count": 0}, {"count": 0, "events": []}, {"count": 1}]
NO_BURSTS += [{"count": count, "events": [[0, 0]]} for count in (2, True)]
OF_ANOTHER_TYPE = {"event_type": 1, "event_details": [], "context": None}


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], {}, {"a": 1}, {name: EVENTS[0][name] for name in ("event_type", "context")}),
        *({**EVENTS[0], name: value} for name, value in OF_ANOTHER_TYPE.items()),
        *({**EVENTS[0], "burst": burst} for burst in NO_BURSTS),
    ],
)
def test_what_is_no_event_is_damage(value):
    """Its name is right, but no collector could use it."""
    data = json.dumps(value).encode()
    assert body.intact(wire.key_of(data), data) == {}


@pytest.mark.parametrize("size", [0, 1, codec.MAX_BODY_BYTES, codec.MAX_BODY_BYTES + 1, 2**33])
def test_a_file_larger_than_any_body_is_not_read_to_its_end(tmp_path, size):
    """Eight gigabytes of zeros take no memory, and are no body."""
    path = tmp_path / f"{KEY}.json"
    path.touch(mode=0o600)
    with path.open("r+b") as file:
        file.truncate(size)
    data = body.read(path)
    assert len(data) == size if size <= codec.MAX_BODY_BYTES else codec.MAX_BODY_BYTES < len(data) < 2**21
    assert body.decoded(data) == {}


def test_a_body_of_the_largest_size_is_one():
    event = {**EVENTS[0], "event_details": {"text": ""}}
    space = codec.MAX_BODY_BYTES - len(codec.dumps(event))
    event["event_details"] = {"text": "x" * space}
    data = codec.dumps(event).encode()
    assert body.intact(wire.key_of(data), data) == event
    assert body.intact(wire.key_of(data + b" "), data + b" ") == {}
