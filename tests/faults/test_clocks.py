"""Clocks that are wrong, or set while a sidecar runs; time is passed, not waited for."""

import os
import shutil
import sys

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from flwr_telemetryd.runtime import Mode
from tests.faults.scene import SEALED, body_of, committed, place, unfinished
from tests.faults.world import DAY_S, YEAR_S, Linked, World, from_now
from tests.support import homes, processes, records, wire
from tests.support.strategies import MAX_DATE_US, MIN_DATE_US

DATES = [MIN_DATE_US, -62_000_000_000_000_001, -1, 0, 1, 1_795_000_000_123_456, MAX_DATE_US]


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
    code = f"import time\ntime.time_ns = lambda: {time_ns}\n"
    code += "for n in range(2):\n    assert outcome(event('PING', {'n': n})) == 'spooled'\n"
    zygote.workload(home, code)
    assert zygote.once(home).returncode == 0
    assert [event["event_details"]["n"] for event in collector.events()] == [0, 1]


@pytest.mark.parametrize("time_ns", [-(10**18), -1, 0, 2**63 - 1])
def test_a_sidecar_whose_clock_is_wrong(zygote, home, collector, time_ns):
    """It delivers all events, and `status` and `inspect` show them."""
    homes.put(home, records.series(3))
    code = f"import sys, time\ntime.time_ns = lambda: {time_ns}\nfrom flwr_telemetryd.__main__ import main\n"
    done = zygote.python(home, code + "sys.exit(main(['--once']))")
    assert done.returncode == 0, done.said
    assert "Traceback" not in done.said
    assert wire.serials(collector.events()) == [0, 1, 2]
    assert zygote.status(home)["totals"]["sent"]["events"] == 3
    assert zygote.command(home, "inspect", "--stage", "sent").returncode == 0


@pytest.mark.parametrize(
    ("asked", "age_s"), [("nan", 0), ("garbage", 0), ("-inf", DAY_S + 60), ("1e400", DAY_S + 60)]
)
def test_a_retry_after_that_asks_for_no_wait(zygote, home, collector, asked, age_s):
    """A `not-before` without a number of seconds asks for no wait, nor does one older than a day."""
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text(f"{asked}\n")
    from_now(path, -age_s)
    assert zygote.status(home)["hosts"][0]["retry_after_s"] == 0
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1]


@pytest.mark.parametrize("ahead_s", [-200 * YEAR_S, 200 * YEAR_S])  # before 1901, and after 2038
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
    for path in everything(home).values():
        from_now(path, ahead_s)
    assert zygote.once(home).returncode == 0
    assert wire.serials(collector.events()) == [0, 1, 2, 3]
    totals = zygote.status(home)["totals"]
    assert (totals["counters"]["dropped"], totals["sent"]["events"]) == (0, 5)


@pytest.mark.parametrize("seconds", [0.0, -1.0, -YEAR_S, -60 * YEAR_S])
def test_what_is_dropped_for_its_age_is_counted(zygote, home, collector, seconds):
    """Files of 1970 and before it: each event is delivered, or dropped by the cap of age and counted."""
    for path in everything(home).values():
        os.utime(path, (seconds, seconds))
    assert zygote.once(home).returncode == 0
    dropped = zygote.status(home)["totals"]["counters"]["dropped"]
    assert len(collector.events()) + dropped == 4
    assert homes.unsent_files(home) == []


@pytest.fixture
def world(home, monkeypatch):
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n')
    homes.spool(home).mkdir(parents=True, mode=0o700)
    homes.host(home).chmod(0o700)
    return World(home, Mode.SERVICE, monkeypatch)


@pytest.mark.parametrize("steps", [(30 * DAY_S, YEAR_S), (-30 * DAY_S, 0.0)], ids=["forward", "backward"])
def test_a_step_of_the_clock_drops_nothing_that_is_young(home, world, steps):
    """An event that waits for the collector is not older because the clock was set."""
    homes.put(home, records.series(2))
    world.answer = Retry("no route")
    world.look_for(60, 1)
    world.step(steps[0])
    world.look_for(600, 10)
    world.step(steps[1])
    world.answer = Delivered()
    world.look_for(1800, 10)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S, -DAY_S, -YEAR_S])
def test_a_step_backward_does_not_lengthen_a_retry_after(home, world, ahead_s):
    """Made before the sidecar looks, or after: it waits for an hour, and at most as long once more."""
    homes.put(home, records.series(2))
    from_now(place(home, "not-before", b"3600\n"), max(ahead_s, 0.0))
    if ahead_s < 0:
        world.look()
        world.step(ahead_s)
    world.look_for(2 * 3600, 60)
    assert world.arrived == [0, 1]


def test_a_spool_that_grows_is_left_to_its_host(home, world):
    """While another host still writes, its spool is its own: the test below could see a wait."""
    for number in range(20):
        path = homes.put(home, records.series(number + 1), host_of="other")
        from_now(path, 10.0 * number)
        from_now(path.parent, 10.0 * number)
        world.look()
        world.pass_time(10)
    assert world.sent == []


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S])
@pytest.mark.parametrize("what", ["a spool", "a batch", "a batch of this host, without locks"])
def test_files_of_the_future_that_nobody_works_on_are_delivered(home, monkeypatch, world, what, ahead_s):
    """Another host's spool that does not grow, and a dead sidecar's batch, whatever their times say."""
    host_of = None if "this host" in what else "other"
    path = (homes.put if what == "a spool" else unfinished)(home, records.series(2), host_of=host_of)
    for each in (path, *path.parents[:3]):
        from_now(each, ahead_s)
    if host_of is None:
        lock = Linked(Home(home).host(), LockResult.UNSUPPORTED)
        world = World(home, Mode.SERVICE, monkeypatch, lock=lock)
    world.look_for(1200 if what == "a spool" else 3600, 10)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("time_ns", [-1, 0, 2**63 - 1])
def test_the_time_of_day_decides_nothing(home, world, time_ns):
    """A clock that jumps between any two looks costs neither an event nor a crash."""
    for number in range(3):
        homes.put(home, records.series(1, start=number))
        world.look_for(10, 2)
        world.time_ns = lambda: time_ns
    homes.put(home, records.series(1, start=3))
    world.look_for(10, 2)
    assert world.arrived == [0, 1, 2, 3]


# Clocks that the program around replaces: no event and no flush hangs.
EVERY_WAIT = """
import fcntl, importlib.util, threading
go_on, began = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "flwr_telemetry.spool" and self in sys.meta_path:
            sys.meta_path.remove(self)
            began.set()
            go_on.wait()

def all_waits():
    told = []
    sys.meta_path.insert(0, Slow())
    first = threading.Thread(target=lambda: told.append(outcome(event("PING", {"n": 0}))))
    first.start()
    began.wait()
    told.append(outcome(event("PING", {"n": 1})))  # waits for the import of another thread
    go_on.set()
    first.join()
    held, over = threading.Event(), threading.Event()

    def hold():
        with emit._emitter()._lock:
            held.set()
            over.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    told.append(outcome(event("PING", {"n": 2})))  # waits for the event of another thread
    over.set()
    other.join()
    with open(PATH, "rb") as sealer:
        fcntl.flock(sealer, fcntl.LOCK_EX)
        told.append(outcome(event("PING", {"n": 3})))  # waits for the segment's lock
    assert not flush(0.5)
    return told

from flwr_telemetry import emit
"""
FREEZEGUN = """
from freezegun import freeze_time
freeze_time("2030-01-01").start()
"""
# Those of libfaketime, and freezegun.
TIMES = [
    "2030-01-01 00:00:00",
    "@2030-01-01 00:00:00",
    "@2001-01-01 00:00:00",
    "+0 x10",
    "+0 x0",
    "freezegun",
]


@pytest.mark.parametrize("moment", TIMES)
def test_a_clock_that_the_program_around_replaces(home, moment):
    faketime, setup = ["faketime", "-f", moment], ""
    if moment == "freezegun":
        pytest.importorskip("freezegun")
        faketime, setup = [], FREEZEGUN
    elif not shutil.which("faketime"):
        pytest.skip("libfaketime is not installed")
    homes.configure(home, "http://127.0.0.1:9/", respawn_s=1000)
    place(home, "sidecar.lock", b"started\n")  # so that flush() waits for a sidecar, and starts none
    code = EVERY_WAIT.replace("PATH", repr(str(homes.open_segment(home))))
    words = ["-W", "ignore", "-c", f"{processes.PRELUDE}{code}{setup}print(json.dumps(all_waits()))"]
    done = processes.program(home, [*faketime, sys.executable, *words])
    assert done.stdout == '["spooled", "spooled", "spooled", "spooled"]\n', done.stderr
    assert wire.serials(homes.spooled(home)) == [0, 1, 2, 3]
