"""Events are chosen by type and by time."""

import time
from datetime import UTC, datetime

import pytest

from flwr_telemetryd.inspect import filters
from flwr_telemetryd.inspect.filters import EventFilter

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
    if text in AGO_S:
        assert (NOW - filters.since(text, NOW)).total_seconds() == AGO_S[text]
    else:
        with pytest.raises(ValueError, match="names no time"):
            filters.since(text, NOW)


MEANT = {"2026-07-01": "2026-06-30T22:00", "2026-12-01T10:00": "2026-12-01T09:00"}
MEANT |= {"0001-01-01": "0001-01-01T00:00"}


@pytest.mark.parametrize("text", MEANT)
def test_a_date_has_the_offset_of_its_own_day(zone, text):
    """In winter, a date of the summer means summer time."""
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    found = filters.since(text, NOW)
    assert found.timestamp() == datetime.fromisoformat(f"{MEANT[text]}+00:00").timestamp()


@pytest.mark.parametrize(
    "body",
    [{}, {"event_type": 3}, {"event_type": "A"}, {"event_type": "A", "context": {"date": "x"}}, {"burst": 3}],
)
def test_a_damaged_body_does_not_match(body):
    assert not EventFilter("A", since_us=0).takes(body)
    assert EventFilter().takes_raw(b"no JSON")
