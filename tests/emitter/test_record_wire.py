"""The wire format of one event: a record's event with its date as text."""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from flwr_telemetry import record
from tests.support.strategies import dates_us, events, packed, tried


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
