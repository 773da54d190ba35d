"""Clocks that are set while a sidecar lives, and waits that end: time is passed, not waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetryd.runtime import Mode
from tests.faults.scene import unfinished
from tests.faults.world import DAY_S, YEAR_S, Linked, World, fails, from_now, taken
from tests.support import homes, records

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give a service of a home with the usual limits; its host has spooled before."""
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n')
    homes.spool(home).mkdir(parents=True, mode=0o700)
    homes.host(home).chmod(0o700)
    return World(home, Mode.SERVICE, monkeypatch)


def dropped(home: Path) -> int:
    """Give how many events were counted as dropped."""
    path = homes.host(home) / "dropped"
    return path.stat().st_size if path.exists() else 0


def test_a_step_forward_drops_nothing_that_is_young(home: Path, world: World) -> None:
    """What waits for the collector is not older because the clock was set."""
    homes.put(home, records.series(2))
    world.answer = fails()
    world.look_for(60, 1)
    world.step(30 * DAY_S)
    world.look_for(600, 10)
    assert dropped(home) == 0
    world.step(YEAR_S)
    world.answer = taken()
    world.look_for(1800, 10)
    assert dropped(home) == 0
    assert world.arrived == [0, 1]


def test_a_step_backward_drops_nothing(home: Path, world: World) -> None:
    """Nor when it is set back."""
    homes.put(home, records.series(2))
    world.answer = fails()
    world.look_for(60, 1)
    world.step(-30 * DAY_S)
    world.look_for(600, 10)
    world.answer = taken()
    world.look_for(1800, 10)
    assert dropped(home) == 0
    assert world.arrived == [0, 1]


def test_what_waits_too_long_does_go(home: Path, world: World) -> None:
    """The cap of age holds within a life: the two tests above could see a drop."""
    homes.put(home, records.series(2))
    world.answer = fails()
    world.look_for(60, 1)
    world.pass_time(15 * DAY_S)
    world.look_for(120, 10)
    assert dropped(home) == 2
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S])
def test_a_retry_after_of_the_future_ends(home: Path, world: World, ahead_s: float) -> None:
    """A `not-before` of next year, after the clock was set back, is no wait until next year."""
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text("3600\n")
    path.chmod(0o600)
    from_now(path, ahead_s)
    world.look_for(2 * 3600, 60)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("back_s", [DAY_S, YEAR_S])
def test_a_step_backward_does_not_lengthen_a_retry_after(home: Path, world: World, back_s: float) -> None:
    """What was asked for is waited for once more at most, however far the clock is set back."""
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text("3600\n")
    path.chmod(0o600)
    world.look()
    world.step(-back_s)
    world.look_for(2 * 3600, 60)
    assert world.arrived == [0, 1]


def test_a_retry_after_is_kept(home: Path, world: World) -> None:
    """As long as the clock is right nothing is sent before its time: the tests above could see a wait."""
    homes.put(home, records.series(2))
    path = homes.host(home) / "not-before"
    path.write_text("3600\n")
    path.chmod(0o600)
    world.look_for(3500, 50)
    assert world.sent == []
    world.look_for(100 + 900 + 100, 50)  # and a random time more, at most as long as the longest backoff
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S])
def test_a_spool_of_the_future_is_adopted(home: Path, world: World, ahead_s: float) -> None:
    """Another host's spool whose clock runs ahead is adopted, once it has not grown for long enough."""
    path = homes.put(home, records.series(2), host_of="other")
    for place in (path, path.parent, path.parent.parent):
        from_now(place, ahead_s)
    world.look_for(1200, 10)
    assert world.arrived == [0, 1]


def test_a_spool_that_grows_is_left_to_its_host(home: Path, world: World) -> None:
    """While another host still writes, its spool is its own: the test above could see a wait."""
    for number in range(20):
        path = homes.put(home, records.series(number + 1), host_of="other")
        from_now(path, 10.0 * number)
        from_now(path.parent, 10.0 * number)
        world.look()
        world.pass_time(10)
    assert world.sent == []


@pytest.mark.parametrize("ahead_s", [0.0, 60.0, YEAR_S, 100 * YEAR_S])
def test_a_batch_of_the_future_is_finished(home: Path, world: World, ahead_s: float) -> None:
    """A batch that another host's dead sidecar left is taken over in the end, whatever its time says."""
    path = unfinished(home, records.series(2), host_of="other")
    for place in (path, *path.parents[:3]):
        from_now(place, ahead_s)
    world.look_for(3600, 30)
    assert world.arrived == [0, 1]


@pytest.mark.parametrize("ahead_s", [0.0, YEAR_S])
def test_a_batch_of_the_future_is_finished_without_locks(
    home: Path, monkeypatch: pytest.MonkeyPatch, world: World, ahead_s: float
) -> None:
    """Nor does it stay for ever on a host of one's own, where no lock tells that its owner is dead."""
    del world
    path = unfinished(home, records.series(2))
    for place in (path, *path.parents[:3]):
        from_now(place, ahead_s)
    alone = World(home, Mode.SERVICE, monkeypatch, lock=Linked(Home(home).host(), LockResult.UNSUPPORTED))
    alone.look_for(3600, 30)
    assert alone.arrived == [0, 1]


@pytest.mark.parametrize("time_ns", [-1, 0, 2**63 - 1])
def test_the_time_of_day_decides_nothing(home: Path, world: World, time_ns: int) -> None:
    """A clock that jumps between any two looks costs neither an event nor a crash."""
    for number in range(3):
        homes.put(home, records.series(1, start=number))
        world.look_for(10, 2)
        world.time_ns = lambda: time_ns
    homes.put(home, records.series(1, start=3))
    world.look_for(10, 2)
    assert world.arrived == [0, 1, 2, 3]
