"""Events are chosen by type and by time."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from flwr_telemetryd.inspect import filters
from flwr_telemetryd.inspect.filters import EventFilter, Selector
from tests.support import records

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("10min", timedelta(minutes=10)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("1.5 h", timedelta(minutes=90)),
        ("3D", timedelta(days=3)),
        (" 1w ", timedelta(weeks=1)),
        ("2026-11-25", timedelta(hours=12)),
        ("2026-11-25T11:30", timedelta(minutes=30)),
        ("2026-11-25 11:30:00+01:00", timedelta(hours=1, minutes=30)),
        ("2026-11-25T11:00:00Z", timedelta(hours=1)),
    ],
)
def test_a_time_as_people_name_it(text, ago):
    assert NOW - filters.since(text, NOW) == ago


@pytest.mark.parametrize(
    "text", ["", "yesterday", "3", "h", "-3h", "3 fortnights", "9" * 400 + "d", "2026-13-01"]
)
def test_a_text_that_names_no_time(text):
    with pytest.raises(ValueError, match="names no time"):
        filters.since(text, NOW)


def _body(*ages_s, event_type="RUN_ENTER"):
    events = [
        records.sample({"n": n}, event_type=event_type, date_us=int((NOW.timestamp() - age_s) * 1e6))
        for n, age_s in enumerate(ages_s)
    ]
    (body,) = codec.coalesce([to_wire(event) for event in events])
    return json.loads(body)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("RUN_ENTER", True),
        ("run_enter", True),
        ("run_*", True),
        ("*_ENTER", True),
        ("RUN", False),
        ("R?N_ENTER", True),
    ],
)
def test_by_type(pattern, taken):
    assert EventFilter(pattern).takes(_body(0)) is taken
    assert EventFilter(pattern).takes(_body(0, 1)) is taken


@pytest.mark.parametrize(
    ("ages_s", "taken"), [([10], True), ([60], True), ([61], False), ([100, 10], True), ([100, 61], False)]
)
def test_by_time(ages_s, taken):
    """A burst matches if any of its events is late enough."""
    choice = EventFilter(since_us=int((NOW.timestamp() - 60) * 1e6))
    assert choice.takes(_body(*ages_s)) is taken
    events = list(Selector(choice, expand=True).parts(json.dumps(_body(*ages_s)).encode()))
    assert len(events) == sum(age_s <= 60 for age_s in ages_s)


@pytest.mark.parametrize(
    "body",
    [{}, {"event_type": 3}, {"event_type": "A"}, {"event_type": "A", "context": {"date": "x"}}, {"burst": 3}],
)
def test_a_damaged_body_does_not_match(body):
    """No file in a home makes `inspect` fail."""
    assert not EventFilter("A", since_us=0).takes(body)
    assert EventFilter().everything
