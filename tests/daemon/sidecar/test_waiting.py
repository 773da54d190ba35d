"""How a service sleeps: longer each time, until something changes."""

import errno
import itertools
import os
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar import waiting
from flwr_telemetryd.sidecar.schedule import FULL_PASS_S, LONGEST_WAIT_S, POLL_S
from flwr_telemetryd.sidecar.waiting import GROWTH_S, REST_S, IdleWait
from tests.daemon.conftest import a_runtime
from tests.support import homes, processes, records


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


# What the kernel tells


class Told:
    """A sleeper that the kernel wakes, with a clock that runs only in its waits; it counts them.

    Something may happen at the first wait; then the kernel's messages have a moment to come.
    """

    def __init__(self, home, mode=Mode.ON_DEMAND, site_file=None):
        self.now_s, self.waits, self.sleeps, self.happens = 0.0, [], 0, lambda: None
        self.clock = Clock(monotonic=lambda: self.now_s, sleep=self._wait, wait=self._wait)
        settings_files = (site_file or home / "no-site" / "telemetry.toml", Home(home).config)
        self.idle_wait = IdleWait(a_runtime(home, mode, self.clock), lambda: False, settings_files)

    def _wait(self, seconds, *descriptors):
        happens, self.happens = self.happens if descriptors else (lambda: None), lambda: None
        happens()
        if not select.select(descriptors, [], [], 0)[0]:
            self.now_s += seconds
        if descriptors:
            self.waits.append(seconds)
        else:
            self.sleeps += 1

    def sleep(self, most_s=600.0, **options):
        """Sleep; for how long by the clock, and how often it waited."""
        self.now_s, self.waits = 0.0, []
        self.idle_wait.snapshot()
        self.idle_wait.sleep(POLL_S, most_s, **options)
        return self.now_s, len(self.waits)


@pytest.fixture
def told(home):
    a_home_of_two(home)
    made = []

    def make(**options):
        made.append(Told(home, **options))
        return made[-1]

    yield make
    for one in made:
        one.idle_wait.close()


def test_at_rest_a_sidecar_waits_twice_a_minute(told):
    for mode in (Mode.ON_DEMAND, Mode.SERVICE):
        assert told(mode=mode).sleep(600) == (600, 20)


@pytest.mark.parametrize(("mode", "changes"), [(Mode.SERVICE, CHANGES), (Mode.ON_DEMAND, CHANGES_ON_DEMAND)])
def test_the_kernel_wakes_for_each_change_at_once(home, told, mode, changes):
    for name, change in changes.items():
        shutil.rmtree(homes.telemetry(home))
        a_home_of_two(home)
        sleeper = told(mode=mode)
        sleeper.happens = lambda change=change: change(home)
        ignored = mode is Mode.ON_DEMAND and name in {"an event of another host", "a first event", "a batch"}
        slept_s, waits = sleeper.sleep(60)
        assert (slept_s, waits) == ((60, waits) if ignored else (0, 1)), name


def test_a_change_during_a_pass_ends_the_next_sleep_without_a_wait(home, told):
    sleeper = told()
    sleeper.sleep(30)
    sleeper.idle_wait.snapshot()
    _append(home)
    sleeper.waits.clear()
    sleeper.idle_wait.sleep(POLL_S, 600)
    assert sleeper.waits == []


def test_appends_wake_nobody_while_events_wait_but_a_request_does(home, told):
    """Their size is read once a second, because a full segment is sealed before the window is over."""
    sleeper = told()
    sleeper.happens = lambda: [_append(home) for _ in range(100)]
    assert sleeper.sleep(60, until_event=False) == (GROWTH_S, 1)
    sleeper.happens = lambda: (_append(home), CHANGES["flush"](home))
    assert sleeper.sleep(60, until_event=False) == (0, 1)


SETTINGS = {
    "written": lambda path: path.write_text("enabled = false"),
    "replaced": lambda path: path.with_name("draft").write_text("") or path.with_name("draft").rename(path),
    "removed": lambda path: path.unlink(),
    "made": lambda path: path.write_text("enabled = false"),
    "mode": lambda path: path.chmod(0o400),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("which", ["user", "link", "site"])
def test_a_change_of_a_settings_file_is_heard_at_once(home, tmp_path, told, name, which):
    site = tmp_path / "etc" / "flwr" / "telemetry.toml"
    path = site if which == "site" else Home(home).config
    (tmp_path / "etc").mkdir()
    if name != "made":
        site.parent.mkdir()
        site.write_text("")
        Home(home).config.write_text("")
    if which == "link":
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "elsewhere")
        path = tmp_path / "elsewhere"
        if name != "made":
            path.write_text("")
    elif name == "made":
        path.parent.mkdir(exist_ok=True)
    sleeper = told(site_file=site)
    looks = []
    sleeper.idle_wait._is_woken = lambda: looks.append(sleeper.now_s) or False
    sleeper.happens = lambda: SETTINGS[name](path)
    sleeper.sleep(30)
    heard = looks.count(0.0) > 1
    assert heard or (which, name) == ("link", "made")  # a dangling link switches off already


@pytest.mark.parametrize("name", ["a link on the way", "a directory above"])
def test_another_way_to_a_settings_file_is_heard_at_once(home, tmp_path, told, name):
    """Some managers of settings switch a link in the middle of the path."""
    for version in ("1", "2"):
        tmp_path.joinpath("all", version).mkdir(parents=True)
        tmp_path.joinpath("all", version, "settings").write_text("")
    link = tmp_path / "all" / "current"
    link.symlink_to("1")
    Home(home).config.symlink_to(tmp_path / "all" / "current" / ".." / "current" / "settings")
    sleeper = told()
    looks = []
    sleeper.idle_wait._is_woken = lambda: looks.append(sleeper.now_s) or False

    def change():
        if name == "a directory above":
            tmp_path.joinpath("all").rename(tmp_path / "former")
        else:
            link.with_name("draft").symlink_to("2")
            link.with_name("draft").rename(link)

    sleeper.happens = change
    sleeper.sleep(30)
    assert looks.count(0.0) > 1


def test_messages_that_mean_nothing_wake_only_so_often(home, told):
    """Another program may make and delete files in the home all the time."""
    sleeper = told()
    calls = itertools.count()

    def noise():
        assert next(calls) < 1000
        home.joinpath("noise").touch()
        home.joinpath("noise").unlink()
        sleeper.happens = noise

    sleeper.happens = noise
    slept_s, waits = sleeper.sleep(1)
    assert slept_s >= 1
    assert waits <= 1 / REST_S + 1


def test_what_is_replaced_is_watched_anew(home, told):
    """A request for delivery in a spool that was made again is heard."""
    sleeper = told()

    def replace():
        homes.spool(home).rename(home / "old")
        homes.put(home, records.series(1))

    sleeper.happens = replace
    assert sleeper.sleep(600) == (0, 1)
    sleeper.happens = lambda: CHANGES["flush"](home)
    assert sleeper.sleep(600) == (0, 1)


def test_messages_that_overflow_lose_no_change(home, told, monkeypatch):
    """The kernel drops what it cannot keep; the files themselves tell what has changed."""
    sleeper = told()
    names = [homes.spool(home) / f".{number}" for number in range(100)]
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    monkeypatch.setattr(waiting.Inotify, "drain", lambda _self: None)  # a sidecar that is stopped meanwhile
    sleeper.sleep(0)
    monkeypatch.undo()

    def many():
        for _ in range(limit // (4 * len(names)) + 1):
            for name in names:
                name.touch()
                name.unlink()
        _append(home)

    sleeper.happens = many
    assert sleeper.sleep(600) == (0, 1)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("refused", ["inotify", "ctypes", "too many"])
def test_where_the_kernel_refuses_the_times_are_read(home, told, monkeypatch, refused):
    if refused == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    elif refused == "too many":
        monkeypatch.setattr(waiting, "MOST_WATCHES", 3)
    else:
        monkeypatch.setattr(waiting.Inotify, "_checked", no_space)
    sleeper = told()
    assert sleeper.sleep(5) == (5, 0)
    assert sleeper.sleeps == 5 / POLL_S


def test_a_shared_home_is_polled(shared_host):
    """Another machine may change it, and no kernel but its own hears of that."""
    home = shared_host.telemetry.parent
    assert IdleWait(a_runtime(home, Mode.ON_DEMAND, Clock(wait=print)), lambda: False)._wait is None


def test_a_sidecar_at_rest_hardly_wakes_and_hears_a_request(home, collector):
    """The system counts its waits. On demand it used to wake four times a second."""
    homes.configure(home, collector.url, idle_exit_s=600)
    homes.put(home, records.series(1))
    with processes.start(home, ["-m", "flwr_telemetryd"]) as sidecar:
        processes.wait_until(lambda: homes.sent(home))
        counts = [-1]
        processes.wait_until(lambda: counts.append(_waits_after(1, sidecar.pid)) or counts[-1] == counts[-2])
        assert _waits_after(2, sidecar.pid) - counts[-1] <= 1
        homes.put(home, records.series(1, start=1))
        homes.spool(home).joinpath("flush").touch()
        processes.wait_until(lambda: len(collector.events()) == 2)
        sidecar.terminate()


def _waits_after(seconds, pid):
    time.sleep(seconds)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
