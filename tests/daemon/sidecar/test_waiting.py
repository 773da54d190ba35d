"""How a service sleeps: longer each time, until something changes."""

import os

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.lifetime import IdleWait
from flwr_telemetryd.sidecar.schedule import FULL_PASS_S, LONGEST_WAIT_S, POLL_S
from tests.daemon.conftest import a_runtime
from tests.support import homes, records


class Sleeper:
    """A clock that runs only in sleep; something may happen at a moment of it."""

    def __init__(self, home):
        self.now_s = 0.0
        self.sleeps = []
        self.woken = False
        self.happens = None
        self.clock = Clock(monotonic=lambda: self.now_s, sleep=self._sleep)
        self.idle_wait = IdleWait(a_runtime(home, Mode.SERVICE, self.clock), lambda: self.woken)

    def _sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now_s += seconds
        if self.happens is not None and self.now_s >= self.happens[0]:
            self.happens[1]()
            self.happens = None

    def sleep(self, longest_s=LONGEST_WAIT_S, most_s=FULL_PASS_S):
        start_s = self.now_s
        self.idle_wait.snapshot()
        self.idle_wait.sleep(longest_s, most_s)
        return self.now_s - start_s


def a_home_of_two(home):
    for host in (None, "other"):
        homes.put(home, records.series(1), host_of=host)
        homes.host(home, host).joinpath("outbox").mkdir(mode=0o700)
    Home(home).host().lock.touch()
    return Sleeper(home)


@pytest.fixture
def sleeper(home):
    return a_home_of_two(home)


def test_the_sleep_doubles_up_to_half_a_minute_and_ends_in_time(sleeper, monkeypatch):
    """No directory is listed while nothing changes."""
    assert sleeper.sleep() >= FULL_PASS_S
    assert sleeper.sleeps[:8] == [0.25, 0.5, 1, 2, 4, 8, 16, 30]
    sleeper.sleeps.clear()
    sleeper.sleep()
    assert set(sleeper.sleeps) == {LONGEST_WAIT_S}
    sleeper.sleep()
    assert (sleeper.sleep(most_s=7), sleeper.sleep(longest_s=2, most_s=7)) == (7, 7)
    assert sleeper.sleep(most_s=0) == POLL_S
    sleeper.sleep()

    def walk(*_arguments):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", walk)
        patch.setattr(os, "listdir", walk)
        assert sleeper.sleep() >= FULL_PASS_S


def _append(home):
    descriptor = os.open(homes.open_segment(home), os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, b"x")
    os.close(descriptor)


CHANGES = {
    "an event": _append,
    "an event of another host": lambda home: homes.put(home, records.series(1), host_of="other"),
    "a first event": lambda home: homes.put(home, records.series(1), host_of="new"),
    "flush": lambda home: homes.spool(home).joinpath("flush").touch(),
    "a seal": lambda home: homes.open_segment(home).rename(homes.spool(home) / "sealed-1-2.msgpack"),
    "a batch": lambda home: homes.host(home, "other").joinpath("outbox", "batch").mkdir(),
    "removal": lambda home: (homes.open_segment(home).unlink(), homes.spool(home).rmdir()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_the_home_ends_the_sleep(home, sleeper, name):
    sleeper.happens = (100.0, lambda: CHANGES[name](home))
    assert 100 <= sleeper.sleep() <= 100 + LONGEST_WAIT_S
    assert sleeper.idle_wait.quiet_s() == 0
    sleeper.sleeps.clear()
    sleeper.sleep()
    assert sleeper.sleeps[0] == POLL_S
    assert sleeper.idle_wait.quiet_s() >= FULL_PASS_S


def test_a_change_during_a_pass_ends_the_next_sleep(home, sleeper):
    sleeper.sleep()
    sleeper.idle_wait.snapshot()
    _append(home)
    sleeper.idle_wait.sleep(LONGEST_WAIT_S, FULL_PASS_S)
    assert sleeper.idle_wait.quiet_s() == 0


def test_sighup_or_an_opt_out_ends_the_sleep(sleeper):
    sleeper.happens = (40.0, lambda: setattr(sleeper, "woken", True))
    assert 40 <= sleeper.sleep() <= 40 + LONGEST_WAIT_S


def test_state_files_do_not_end_the_sleep(home, sleeper):
    """Otherwise two services would keep each other awake."""
    state_files = [homes.host(home, "other") / name for name in ("sidecar.json", "sidecar.log", "dropped")]
    sleeper.happens = (100.0, lambda: [file.write_text("x") for file in state_files])
    assert sleeper.sleep() >= FULL_PASS_S


CHANGES_ON_DEMAND = {**CHANGES, "the lock removed": lambda home: Home(home).host().lock.unlink()}


@pytest.mark.parametrize("name", CHANGES_ON_DEMAND)
def test_a_sidecar_on_demand_wakes_for_its_own_host_alone(home, name):
    sleeper = a_home_of_two(home)
    sleeper.idle_wait = IdleWait(a_runtime(home, Mode.ON_DEMAND, sleeper.clock), lambda: False)
    sleeper.happens = (1.0, lambda: CHANGES_ON_DEMAND[name](home))
    others = name in {"an event of another host", "a first event", "a batch"}
    assert (sleeper.sleep(POLL_S, 5), set(sleeper.sleeps)) == (5 if others else 1, {POLL_S})
