"""Clocks that are set while a sidecar lives, and waits that end: time is passed, not waited for."""

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetryd.runtime import Mode
from tests.faults.scene import unfinished
from tests.faults.world import DAY_S, YEAR_S, Linked, World, fails, from_now, taken
from tests.support import homes, records


@pytest.fixture
def world(home, monkeypatch):
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n')
    homes.spool(home).mkdir(parents=True, mode=0o700)
    homes.host(home).chmod(0o700)
    return World(home, Mode.SERVICE, monkeypatch)


def dropped(home):
    path = homes.host(home) / "dropped"
    return path.stat().st_size if path.exists() else 0


def wait_for_the_collector(home, world):
    """Let two events wait while the collector cannot be reached."""
    homes.put(home, records.series(2))
    world.answer = fails()
    world.look_for(60, 1)


@pytest.mark.parametrize("steps", [(30 * DAY_S, YEAR_S), (-30 * DAY_S, 0.0)], ids=["forward", "backward"])
def test_a_step_of_the_clock_drops_nothing_that_is_young(home, world, steps):
    """An event that waits for the collector is not older because the clock was set."""
    wait_for_the_collector(home, world)
    world.step(steps[0])
    world.look_for(600, 10)
    assert dropped(home) == 0
    world.step(steps[1])
    world.answer = taken()
    world.look_for(1800, 10)
    assert dropped(home) == 0
    assert world.arrived == [0, 1]


def test_what_waits_too_long_does_go(home, world):
    """The tests above could see a drop."""
    wait_for_the_collector(home, world)
    world.pass_time(15 * DAY_S)
    world.look_for(120, 10)
    assert dropped(home) == 2
    assert homes.unsent_files(home) == []


def ask_for_an_hour(home):
    """Let two events wait, and let the collector have asked for an hour before the next request."""
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text("3600\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S])
def test_a_retry_after_of_the_future_ends(home, world, ahead_s):
    """A `not-before` of next year, after the clock was set back, lets the sidecar go on."""
    from_now(ask_for_an_hour(home), ahead_s)
    world.look_for(2 * 3600, 60)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("back_s", [DAY_S, YEAR_S])
def test_a_step_backward_does_not_lengthen_a_retry_after(home, world, back_s):
    """The sidecar waits for at most as long once more, however far the clock is set back."""
    ask_for_an_hour(home)
    world.look()
    world.step(-back_s)
    world.look_for(2 * 3600, 60)
    assert world.arrived == [0, 1]


def test_a_retry_after_is_kept(home, world):
    """As long as the clock is right nothing is sent before its time: the tests above could see a wait."""
    ask_for_an_hour(home)
    world.look_for(3500, 50)
    assert world.sent == []
    world.look_for(100 + 900 + 100, 50)  # and a random time more, at most as long as the longest backoff
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
@pytest.mark.parametrize(("put", "within_s"), [(homes.put, 1200), (unfinished, 3600)], ids=["spool", "batch"])
def test_files_of_another_host_and_of_the_future_are_delivered(home, world, put, within_s, ahead_s):
    """A spool that does not grow, and a dead sidecar's batch, whatever their times say."""
    path = put(home, records.series(2), host_of="other")
    for place in (path, *path.parents[:3]):
        from_now(place, ahead_s)
    world.look_for(within_s, 10)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("ahead_s", [0.0, YEAR_S])
def test_a_batch_of_the_future_is_finished_without_locks(home, monkeypatch, world, ahead_s):
    del world
    path = unfinished(home, records.series(2))
    for place in (path, *path.parents[:3]):
        from_now(place, ahead_s)
    alone = World(home, Mode.SERVICE, monkeypatch, lock=Linked(Home(home).host(), LockResult.UNSUPPORTED))
    alone.look_for(3600, 30)
    assert alone.arrived == [0, 1]


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
