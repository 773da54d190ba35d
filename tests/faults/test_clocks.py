"""Clocks that are wrong, as times of files and of events: no crash, no endless wait, no early drop."""

import os

import pytest

from tests.faults.scene import SEALED, body_of, committed, place, unfinished
from tests.faults.world import DAY_S, YEAR_S, from_now
from tests.support import homes, processes, records, wire
from tests.support.strategies import MAX_DATE_US, MIN_DATE_US

DATES = [MIN_DATE_US, -62_000_000_000_000_001, -1, 0, 1, 1_795_000_000_123_456, MAX_DATE_US]
FAR_S = [-200 * YEAR_S, -60 * YEAR_S, YEAR_S, 200 * YEAR_S]  # before 1901 and 1970, and after 2038


@pytest.mark.parametrize("bursts", [True, False])
def test_events_of_any_date(zygote, home, collector, bursts):
    """Events before 1970 and at both ends of the calendar are delivered as they are."""
    homes.configure(home, collector.url, bursts=bursts)
    events = [records.sample({"n": n}, cluster="c", date_us=date) for n, date in enumerate(DATES)]
    homes.put(home, events)
    assert zygote.once(home).returncode == 0
    assert wire.bag(map(wire.plain, collector.events())) == wire.bag(events)
    assert zygote.command(home, "inspect").returncode == 0


@pytest.mark.parametrize("time_ns", [-(10**18), -1, 0, 1, 2**62, 2**63 - 1])
def test_a_workload_whose_clock_is_wrong(zygote, home, collector, time_ns):
    """From 1938 to 2262 events are spooled in order and delivered."""
    homes.configure(home, collector.url)
    code = f"import time\ntime.time_ns = lambda: {time_ns}\n"
    code += "for n in range(2):\n    assert outcome(event('PING', {'n': n})) == 'spooled'\n"
    zygote.workload(home, code)
    assert zygote.once(home).returncode == 0
    assert [event["event_details"]["n"] for event in collector.events()] == [0, 1]


@pytest.mark.parametrize("time_ns", [-(10**18), -1, 0, 2**63 - 1])
def test_a_sidecar_whose_clock_is_wrong(zygote, home, collector, time_ns):
    """It delivers all events, and `status` and `inspect` show them."""
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    code = f"import sys, time\ntime.time_ns = lambda: {time_ns}\nfrom flwr_telemetryd.__main__ import main\n"
    done = zygote.python(home, code + "sys.exit(main(['--once']))")
    assert done.returncode == 0, done.said
    assert "Traceback" not in done.said
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert zygote.status(home)["totals"]["sent"]["events"] == 3
    assert zygote.command(home, "inspect", "--stage", "sent").returncode == 0


NO_WAIT = ["", "0", "-1", "-inf", "nan", "-nan", "garbage", "\0\0\0", "1,5"]


@pytest.mark.parametrize(
    ("asked", "age_s"),
    [
        *((asked, 0) for asked in NO_WAIT),
        *((asked, DAY_S + 60) for asked in (*NO_WAIT, "inf", "1e400", "1e18", "9" * 60, "86401")),
    ],
)
def test_a_retry_after_that_asks_for_no_wait(zygote, home, collector, asked, age_s):
    """A `not-before` without a number of seconds asks for no wait, nor does one older than a day."""
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text(f"{asked}\n")
    from_now(path, -age_s)
    assert zygote.status(home)["hosts"][0]["retry_after_s"] == 0
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1]


@pytest.mark.parametrize("ahead_s", FAR_S)
@pytest.mark.parametrize(
    ("where", "data"), [("../service-x.json", b'{"pid": 1}\n'), ("sidecar.lock", b"started\n")]
)
def test_a_time_that_is_far_away_keeps_no_sidecar_from_starting(home, collector, where, data, ahead_s):
    """Tried with the heartbeat of a service and with the start of another sidecar."""
    homes.configure(home, collector.url, respawn_s=10)
    homes.put(home, [])
    from_now(place(home, where, data), ahead_s)
    assert processes.emit(home) == ["spooled"]
    processes.wait_until(collector.events, 20, "the delivery of a sidecar that the event started")


def everything(home):
    """Give an event in each stage of this host's way, and an archive, by the names of the stages."""
    events = records.series(4)
    body = body_of(events[3])
    homes.put(home, events[:1])
    homes.put(home, events[1:2], name=SEALED)
    unfinished(home, events[2:3])
    committed(home, body)
    place(home, "sent/2026-11-20.jsonl", body + b"\n")
    return {path.name: path for path in homes.host(home).rglob("*")}


@pytest.mark.parametrize("ahead_s", [60.0, YEAR_S, 200 * YEAR_S])
def test_nothing_of_the_future_is_dropped(zygote, home, collector, ahead_s):
    """Segments, batches, bodies and archives with times in the future: all is delivered, all is kept."""
    homes.configure(home, collector.url)
    for path in everything(home).values():
        from_now(path, ahead_s)
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2, 3]
    totals = zygote.status(home)["totals"]
    assert (totals["counters"]["dropped"], totals["sent"]["events"]) == (0, 5)


@pytest.mark.parametrize("seconds", [0.0, -1.0, -YEAR_S, -60 * YEAR_S])
def test_what_is_dropped_for_its_age_is_counted(zygote, home, collector, seconds):
    """Files of 1970 and before it: each event is delivered, or dropped by the cap of age and counted."""
    homes.configure(home, collector.url)
    for path in everything(home).values():
        os.utime(path, (seconds, seconds))
    assert zygote.once(home).returncode == 0
    dropped = zygote.status(home)["totals"]["counters"]["dropped"]
    assert len(collector.events()) + dropped == 4
    assert homes.unsent_files(home) == []
