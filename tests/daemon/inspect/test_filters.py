"""Events are chosen by type and by time."""

import json
import time
from datetime import UTC, datetime

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.inspect import filters
from flwr_telemetryd.inspect.filters import EventFilter
from tests.support import records
from tests.support.bodies import coalesce

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


AGO_S = (
    {"90s": 90, "10min": 600, "10m": 600, "2h": 7200, "1.5 h": 5400, "3D": 259_200, " 1w ": 604_800}
    | {"2026-11-25": 43_200, "2026-11-25T11:30": 1800, "2026-11-25T11:00:00Z": 3600}
    | {"2026-11-25 11:30:00+01:00": 5400}
)
NO_TIMES = ["", "yesterday", "3", "h", "-3h", "3 fortnights", "9" * 400 + "d", "2026-13-01"]


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    """Set the zone of this process."""

    def use(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    use("UTC")
    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", [*AGO_S, *NO_TIMES])
def test_a_time_as_people_name_it(text):
    """A length of time before now, or a date; without an offset it is meant here."""
    if text in AGO_S:
        assert (NOW - filters.since(text, NOW)).total_seconds() == AGO_S[text]
    else:
        with pytest.raises(ValueError, match="names no time"):
            filters.since(text, NOW)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-07-01", "2026-06-30T22:00"),
        ("2026-12-01T10:00", "2026-12-01T09:00"),
        ("0001-01-01", "0001-01-01T00:00"),
        ("9999-12-31", "9999-12-30T23:00"),
    ],
)
def test_a_date_has_the_offset_of_its_own_day(zone, text, meant):
    """In winter, a date of the summer means summer time."""
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    found = filters.since(text, NOW)
    assert found.timestamp() == datetime.fromisoformat(f"{meant}+00:00").timestamp()


def _body(*ages_s, event_type="RUN_ENTER"):
    events = [
        records.sample({"n": n}, event_type=event_type, date_us=int((NOW.timestamp() - age_s) * 1e6))
        for n, age_s in enumerate(ages_s)
    ]
    (body,) = coalesce([to_wire(event) for event in events])
    return json.loads(body)


@pytest.mark.parametrize("pattern", ["RUN_ENTER", "run_enter", "run_*", "*_ENTER", "RUN", "R?N_ENTER"])
def test_by_type(pattern):
    """In any case, as a whole, with the wildcards that a shell has."""
    for body in (_body(0), _body(0, 1)):
        assert EventFilter(pattern).takes(body) is (pattern != "RUN")


@pytest.mark.parametrize(
    ("ages_s", "taken"), [([10], True), ([60], True), ([61], False), ([100, 10], True), ([100, 61], False)]
)
def test_by_time(ages_s, taken):
    """A burst matches if any of its events is late enough."""
    choice = EventFilter(since_us=int((NOW.timestamp() - 60) * 1e6), expand=True)
    assert choice.takes(_body(*ages_s)) is taken
    events = list(choice.parts(json.dumps(_body(*ages_s)).encode()))
    assert len(events) == sum(age_s <= 60 for age_s in ages_s)


@pytest.mark.parametrize(
    "body",
    [{}, {"event_type": 3}, {"event_type": "A"}, {"event_type": "A", "context": {"date": "x"}}, {"burst": 3}],
)
def test_a_damaged_body_does_not_match(body):
    """No file in a home makes `inspect` fail."""
    assert not EventFilter("A", since_us=0).takes(body)
    assert EventFilter().takes_raw(b"no JSON")
