"""How a sidecar waits: until the kernel or the times of files tell of a change, or a time is over."""

import errno
import itertools
import os
import select
import shutil
import sys
import time
from pathlib import Path
from unittest import mock

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
    """A wait whose clock runs only in it. Something may happen at a moment, or at a wait for the kernel."""

    def __init__(self, home, mode=Mode.SERVICE, *, told=False, site_file=None):
        self.now_s, self.sleeps, self.waits, self.looks = 0.0, [], [], []
        self.happens, self.at_s, self.woken = None, 0.0, False
        clock = Clock(monotonic=lambda: self.now_s, sleep=self._sleep, wait=self._wait if told else None)
        settings_files = (site_file or home / "no-site" / "telemetry.toml", Home(home).config)
        self.idle_wait = IdleWait(a_runtime(home, mode, clock), self._is_woken, settings_files)

    def _is_woken(self):
        self.looks.append(self.now_s)
        return self.woken

    def _happen(self):
        if self.happens is not None and self.now_s >= self.at_s:
            happens, self.happens = self.happens, None
            happens()

    def _sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now_s += seconds
        self._happen()

    def _wait(self, seconds, descriptor):
        self.waits.append(seconds)
        self._happen()
        if not select.select([descriptor], [], [], 0)[0]:
            self.now_s += seconds

    def sleep(self, longest_s=LONGEST_WAIT_S, most_s=FULL_PASS_S, **options):
        """Sleep; for how long by the clock."""
        began_s = self.now_s
        self.sleeps.clear()
        self.waits.clear()
        self.idle_wait.snapshot()
        self.idle_wait.sleep(longest_s, most_s, **options)
        return self.now_s - began_s


def lay_out(home):
    shutil.rmtree(homes.telemetry(home), ignore_errors=True)
    for host in (None, "other"):
        homes.put(home, records.series(1), host_of=host)
        homes.host(home, host).joinpath("outbox").mkdir(mode=0o700)
    Home(home).host().lock.touch()


@pytest.fixture
def sleeper(home):
    lay_out(home)
    made = []

    def make(*arguments, **options):
        made.append(Sleeper(home, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.idle_wait.close()


def _append(home):
    with homes.open_segment(home).open("ab") as segment:
        segment.write(b"x")


CHANGES = {
    "an event": _append,
    "an event of another host": lambda home: homes.put(home, records.series(1), host_of="other"),
    "a first event": lambda home: homes.put(home, records.series(1), host_of="new"),
    "flush": lambda home: homes.spool(home).joinpath("flush").touch(),
    "a seal": lambda home: homes.open_segment(home).rename(homes.spool(home) / "sealed-1-2.msgpack"),
    "a batch": lambda home: homes.host(home, "other").joinpath("outbox", "batch").mkdir(),
    "removal": lambda home: (homes.open_segment(home).unlink(), homes.spool(home).rmdir()),
    "the lock removed": lambda home: Home(home).host().lock.unlink(),
}
IGNORED = {
    Mode.SERVICE: {"the lock removed"},
    Mode.ON_DEMAND: {"an event of another host", "a first event", "a batch"},
}


@pytest.mark.parametrize("told", [True, False], ids=["by the kernel", "by times"])
@pytest.mark.parametrize(("mode", "longest_s"), [(Mode.SERVICE, LONGEST_WAIT_S), (Mode.ON_DEMAND, POLL_S)])
def test_a_change_ends_the_sleep(home, sleeper, mode, longest_s, told):
    """At once, if the kernel tells. A sidecar on demand wakes for its own host alone."""
    for name, change in CHANGES.items():
        lay_out(home)
        one = sleeper(mode, told=told)
        one.at_s, one.happens = 0 if told else 10, lambda change=change: change(home)
        slept_s = one.sleep(longest_s, 60)
        if name in IGNORED[mode]:
            assert slept_s == 60, name
            continue
        assert one.at_s <= slept_s <= one.at_s + (0 if told else longest_s), name
        assert one.idle_wait.quiet_s() == 0
        assert len(one.waits) == told
        one.sleep(longest_s, 60)
        assert told or one.sleeps[0] == POLL_S
        assert one.idle_wait.quiet_s() == 60


@pytest.mark.parametrize("told", [True, False], ids=["by the kernel", "by times"])
def test_a_change_during_a_pass_ends_the_next_sleep(home, sleeper, told):
    one = sleeper(told=told)
    one.sleep()
    one.idle_wait.snapshot()
    _append(home)
    one.waits.clear()
    one.idle_wait.sleep(LONGEST_WAIT_S, FULL_PASS_S)
    assert one.idle_wait.quiet_s() <= REST_S
    assert one.waits == []


def test_the_sleep_doubles_up_to_half_a_minute_and_ends_in_time(sleeper, monkeypatch):
    """No directory is listed while nothing changes. SIGHUP or an opt-out ends it."""
    one = sleeper()
    assert one.sleep() >= FULL_PASS_S
    assert one.sleeps[:8] == [0.25, 0.5, 1, 2, 4, 8, 16, 30]
    one.sleep()
    assert set(one.sleeps) == {LONGEST_WAIT_S}
    assert (one.sleep(most_s=7), one.sleep(longest_s=2, most_s=7)) == (7, 7)
    assert one.sleep(most_s=0) == POLL_S
    one.sleep()
    with monkeypatch.context() as patch:
        for call in ("scandir", "listdir"):
            patch.delattr(os, call)
        assert one.sleep() >= FULL_PASS_S
    one.at_s, one.happens = one.now_s + 40, lambda: setattr(one, "woken", True)
    assert 40 <= one.sleep() <= 40 + LONGEST_WAIT_S


def test_state_files_do_not_end_the_sleep(home, sleeper):
    """Otherwise two services would keep each other awake."""
    one = sleeper()
    state_files = [homes.host(home, "other") / name for name in ("sidecar.json", "sidecar.log", "dropped")]
    one.at_s, one.happens = 100, lambda: [file.write_text("x") for file in state_files]
    assert one.sleep() >= FULL_PASS_S


# What the kernel tells


def test_at_rest_a_sidecar_waits_twice_a_minute(sleeper):
    for mode in (Mode.ON_DEMAND, Mode.SERVICE):
        one = sleeper(mode, told=True)
        assert (one.sleep(POLL_S, 600), len(one.waits)) == (600, 20), mode


def test_appends_wake_nobody_while_events_wait_but_a_request_does(home, sleeper):
    """Their size is read once a second, because a full segment is sealed before the window is over."""
    one = sleeper(Mode.ON_DEMAND, told=True)
    one.happens = lambda: [_append(home) for _ in range(100)]
    assert (one.sleep(POLL_S, 60, until_event=False), len(one.waits)) == (GROWTH_S, 1)
    one.happens = lambda: (_append(home), CHANGES["flush"](home))
    assert (one.sleep(POLL_S, 60, until_event=False), len(one.waits)) == (0, 1)


SETTINGS = {
    "written": lambda path: path.write_text("enabled = false"),
    "replaced": lambda path: path.with_name("draft").write_text("") or path.with_name("draft").rename(path),
    "removed": lambda path: path.unlink(),
    "made": lambda path: path.write_text("enabled = false"),
    "mode": lambda path: path.chmod(0o400),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("which", ["user", "link", "site"])
def test_a_change_of_a_settings_file_is_heard_at_once(home, tmp_path, sleeper, name, which):
    site = tmp_path / "etc" / "flwr" / "telemetry.toml"
    path = site if which == "site" else Home(home).config
    site.parent.mkdir(parents=True)
    if which == "link":
        path.symlink_to(tmp_path / "elsewhere")
    if name != "made":
        site.write_text("")
        Home(home).config.write_text("")
    path = path.resolve()
    one = sleeper(Mode.ON_DEMAND, told=True, site_file=site)
    one.happens = lambda: SETTINGS[name](path)
    one.sleep(POLL_S, 30)
    is_heard = one.looks.count(0.0) > 1
    assert is_heard or (which, name) == ("link", "made")  # a dangling link switches off already


@pytest.mark.parametrize("name", ["a link on the way", "a directory above"])
def test_another_way_to_a_settings_file_is_heard_at_once(home, tmp_path, sleeper, name):
    """Some managers of settings switch a link in the middle of the path."""
    for version in ("1", "2"):
        tmp_path.joinpath("all", version).mkdir(parents=True)
        tmp_path.joinpath("all", version, "settings").write_text("")
    link, draft = tmp_path / "all" / "current", tmp_path / "all" / "draft"
    link.symlink_to("1")
    draft.symlink_to("2")
    Home(home).config.symlink_to(tmp_path / "all" / "current" / ".." / "current" / "settings")
    changed, target = (draft, link) if name == "a link on the way" else (link.parent, tmp_path / "former")
    one = sleeper(Mode.ON_DEMAND, told=True)
    one.happens = lambda: changed.rename(target)
    one.sleep(POLL_S, 30)
    assert one.looks.count(0.0) > 1


def test_messages_that_mean_nothing_wake_only_so_often(home, sleeper):
    """Another program may make and delete files in the home all the time."""
    one, calls = sleeper(Mode.ON_DEMAND, told=True), itertools.count()

    def noise():
        assert next(calls) < 1000
        home.joinpath("noise").touch()
        home.joinpath("noise").unlink()
        one.happens = noise

    one.happens = noise
    assert one.sleep(POLL_S, 1) >= 1
    assert len(one.waits) <= 1 / REST_S + 1


def test_what_is_replaced_is_watched_anew(home, sleeper):
    """A request for delivery in a spool that was made again is heard."""
    one = sleeper(Mode.ON_DEMAND, told=True)
    one.happens = lambda: (homes.spool(home).rename(home / "old"), homes.put(home, records.series(1)))
    assert (one.sleep(POLL_S), len(one.waits)) == (0, 1)
    one.happens = lambda: CHANGES["flush"](home)
    assert (one.sleep(POLL_S), len(one.waits)) == (0, 1)


def test_messages_that_overflow_lose_no_change(home, sleeper, monkeypatch):
    """The kernel drops what it cannot keep; the files themselves tell what has changed."""
    one = sleeper(Mode.ON_DEMAND, told=True)
    names = [homes.spool(home) / f".{number}" for number in range(100)]
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(waiting.Inotify, "drain", lambda _self: None)  # a sidecar that is stopped meanwhile
        one.sleep(POLL_S, 0)

    def many():
        for _ in range(limit // (4 * len(names)) + 1):
            for name in names:
                name.touch()
                name.unlink()
        _append(home)

    one.happens = many
    assert (one.sleep(POLL_S), len(one.waits)) == (0, 1)


@pytest.mark.parametrize("refused", ["inotify", "ctypes", "too many"])
def test_where_the_kernel_refuses_the_times_are_read(sleeper, monkeypatch, refused):
    if refused == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    elif refused == "too many":
        monkeypatch.setattr(waiting, "MOST_WATCHES", 3)
    else:
        monkeypatch.setattr(waiting.Inotify, "_checked", mock.Mock(side_effect=OSError(errno.ENOSPC, "full")))
    one = sleeper(Mode.ON_DEMAND, told=True)
    assert (one.sleep(POLL_S, 5), one.waits, len(one.sleeps)) == (5, [], 5 / POLL_S)


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
