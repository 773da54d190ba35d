"""The record format: an event of the specification is decoded, nothing else is; and its wire format."""

import copy
import struct
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from hypothesis import given

from flwr_telemetry import packing, record
from tests.support import records
from tests.support.strategies import dates_us, events, packed, tried

SAMPLE = records.sample({"n": 1})


def _changed(**changes):
    return {**SAMPLE, "context": {**SAMPLE["context"], **changes}}


def _without(name):
    return {**SAMPLE, "context": {key: value for key, value in SAMPLE["context"].items() if key != name}}


def _nested(depth):
    return [_nested(depth - 1)] if depth > 1 else []


NO_DATES = "2026-11-22T10:00:00+00:00", 1.0, True, packing.MIN_DATE_US - 1, packing.MAX_DATE_US + 1
NO_JSON = float("nan"), [float("-inf")], b"", msgpack.ExtType(5, b""), msgpack.Timestamp(1), {1: 1}
NO_EVENTS = {
    "empty": b"",
    "torn": record.pack(SAMPLE)[:-1],
    "bytes_behind": record.pack(SAMPLE) + b"\0",
    "two": record.pack(SAMPLE) * 2,
    "list": packed([SAMPLE]),
    "another_name": packed({**SAMPLE, "burst": {}}),
    "no_details": packed({name: SAMPLE[name] for name in ("event_type", "context")}),
    "type_is_none": packed({**SAMPLE, "event_type": None}),
    "details_are_a_list": packed({**SAMPLE, "event_details": []}),
    "context_is_a_list": packed({**SAMPLE, "context": []}),
    **{f"no_{name}": packed(_without(name)) for name in ("partner", "source", "cluster", "date")},
    "source_is_none": packed(_changed(source=None)),
    **{f"date_is_{date!r}": packed(_changed(date=date)) for date in NO_DATES},
    **{f"hardware_is_{value!r}": packed(_changed(hw=value)) for value in NO_JSON},
    "key_is_a_list": packed(SAMPLE).replace(b"\xa9cpu_count", b"\x91\xa8pu_count"),
    "broken_text": packed(SAMPLE).replace(b"PING", b"P\xffNG"),
    "too_deep": packed({**SAMPLE, "event_details": {"a": _nested(record.MAX_DEPTH + 1)}}),
    "far_too_deep": packed({**SAMPLE, "event_details": {}})[:-1] + b"\x91" * 60_000,
    "promises_4_gib": b"\xdf\xff\xff\xff\xff",
}


def test_an_event_of_flwr_datasets_is_one():
    """It names its package in place of Flower and no partner; without either it is damage like another."""
    event = records.of_datasets(SAMPLE)
    assert record.decode(packed(event)) == event
    del event["context"]["source"]
    with pytest.raises(record.NotAnEventError):
        record.decode(packed(event))


@pytest.mark.parametrize("payload", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event_is_refused(payload):
    with pytest.raises(record.NotAnEventError):
        record.decode(payload)


def test_the_longest_payload():
    assert packing.frame(b"x" * 65_535)[6:9] == b"\xc5\xff\xff"
    with pytest.raises(ValueError, match="65536"):
        packing.frame(b"x" * 65_536)


@tried(50)
@given(events)
def test_an_event_assembled_from_parts_is_the_event(event):
    context = dict(event["context"])
    ids = ("partner", "source", "cluster")
    before = {name: context.pop(name) for name in ids if name in context}
    date_us = context.pop("date")
    parts = packing.context_parts(before, context)
    head = packing.event_head(event["event_type"])
    payload = packing.assemble(head, record.pack(event["event_details"]), parts, date_us)
    assert packed(record.decode(payload)) == packed(event)
    assert b"\xa4date\xd3" + struct.pack(">q", date_us) in payload


@tried(200)
@given(dates_us)
def test_a_date_as_text_is_the_same_moment(moment_us):
    text = record.date_text(moment_us)
    assert record.date_us(text) == moment_us
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    assert text == moment.isoformat()


def test_another_offset_is_the_same_moment():
    assert record.date_us("1970-01-01T02:00:00.000001+02:00") == 1


@pytest.mark.parametrize(
    "text", ["", "today", "2026-11-22T10:00:00", "2026-11-22", "2026-13-22T10:00:00+00:00"]
)
def test_no_date(text):
    with pytest.raises(ValueError, match=r"."):
        record.date_us(text)


@tried(50)
@given(events)
def test_the_wire_differs_from_the_record_in_the_date_alone(event):
    before = copy.deepcopy(event)
    on_the_wire = record.to_wire(event)
    assert packed(event) == packed(before)
    assert on_the_wire["context"]["date"] == record.date_text(event["context"]["date"])
    on_the_wire["context"]["date"] = event["context"]["date"]
    assert packed(on_the_wire) == packed(before)
