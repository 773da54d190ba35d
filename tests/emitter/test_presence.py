"""Heartbeats by the time of their file system, and the process that ``sidecar.json`` names."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from flwr_telemetry import presence, system
from flwr_telemetry.layout import Home
from tests.emitter.conftest import NOW_S, beat
from tests.support import faults, homes, processes


@pytest.mark.parametrize(
    ("name", "age_s", "fresh"),
    [
        *(("service-other.json", age_s, True) for age_s in (0, 89, -3600)),
        *(("service-other.json", age_s, False) for age_s in (91, -3601)),
        *((name, 0, False) for name in ("service-other.json.part", ".service-other.json", "config.toml")),
    ],
)
def test_the_age_of_a_heartbeat(home, paths, name, age_s, fresh):
    """It is a difference between two times of that file system, and of heartbeats only."""
    beat(home, NOW_S - age_s, name)
    assert presence.has_fresh_heartbeat(Home(home), lambda: presence.last_touched(paths)) is fresh
    beat(home, NOW_S, "service-second.json")
    assert presence.has_fresh_heartbeat(Home(home), lambda: presence.last_touched(paths))


def test_ages_by_host(home, paths, monkeypatch):
    """A time far ahead is of a clock that was set back since; its age fits into JSON."""
    for host, age_s in {"a": -60, "b": 30.5, "c": 1e6, "d": -3601}.items():
        beat(home, NOW_S - age_s, f"service-{host}.json")
    ages = presence.heartbeats(Home(home), lambda: NOW_S)
    assert ages == {"a": -60, "b": 30.5, "c": 1e6, "d": presence.LONGEST_AGE_S}
    assert presence.served_hosts(Home(home), lambda: NOW_S) == {"a", "b"}
    assert presence.heartbeat_files(Home(home)) == [Home(home).heartbeat(host) for host in "abcd"]
    for host in "abc":
        beat(home, NOW_S, f"service-{host}.json")
    real = presence.modification_times

    def then(*paths):
        Home(home).heartbeat("b").unlink(missing_ok=True)  # after it was listed
        return real(*paths)

    monkeypatch.setattr(presence, "modification_times", then)
    assert presence.served_hosts(Home(home), lambda: NOW_S) == {"a", "c"}


def test_quiet_hosts_cost_a_look_nothing(home, paths, monkeypatch):
    host_directories = [homes.telemetry(home) / f"host{number}" for number in range(20)]
    for path in host_directories:
        path.mkdir()
    listings, real = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listings.append(path) or real(path))

    def look():
        return presence.has_fresh_heartbeat(Home(home), lambda: NOW_S)

    assert ([look() for _ in range(10)], len(listings)) == ([False] * 10, 1)
    beat(home, NOW_S, "service-other.json")
    assert ([look() for _ in range(10)], len(listings)) == ([True] * 10, 2)
    beat(home, NOW_S - 1000, "service-other.json")  # this does not change the directory
    assert not look()
    changed = os.stat(homes.telemetry(home))
    beat(home, NOW_S, "service-second.json")
    os.utime(homes.telemetry(home), ns=(changed.st_atime_ns, changed.st_mtime_ns))
    assert any(look() for _ in range(40))


def test_a_flush_counts_as_now(home, paths):
    """A request without a new event touches `flush`; without both, the time of the spool counts."""
    assert presence.last_touched(paths) == NOW_S
    beat(home, NOW_S + 100, paths.flush)
    assert presence.last_touched(paths) == NOW_S + 100
    paths.flush.unlink()
    paths.events.unlink()
    os.utime(paths.spool, (NOW_S + 7, NOW_S + 7))
    assert presence.last_touched(paths) == NOW_S + 7


def test_the_time_of_a_file_system_leaves_no_trace(home, paths, monkeypatch):
    """It is the time of no clock of this process, except where nothing can be written."""
    began_s, before, touched_ns = time.time(), homes.tree(home), homes.telemetry(home).stat().st_mtime_ns
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert presence.file_system_now(homes.telemetry(home)) == pytest.approx(began_s, abs=60)
    assert (homes.tree(home), homes.telemetry(home).stat().st_mtime_ns) == (before, touched_ns)
    assert presence.file_system_now(home / "missing") == 5


LIVING = {"pid": 2, "born": "x", "mode": "service", "ended": ""}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "[" * 20_000),
        *(json.dumps({**LIVING, name: value}) for name, value in [("pid", True), ("pid", 1), ("pid", "2")]),
        *(json.dumps({**LIVING, name: None}) for name in LIVING),
        *(json.dumps({name: LIVING[name] for name in LIVING if name != left}) for left in LIVING),
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_state_names_nobody(paths, text):
    paths.state.write_text(text)
    assert presence.sidecar_state(paths) is None
    assert not presence.state_claims_alive(paths)
    presence.signal_service(paths)
    paths.state.unlink()


class Sleeper:
    """A process that prints a line on SIGHUP and ends on SIGTERM, and its state."""

    def __init__(self, paths):
        self.process = subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=subprocess.PIPE)
        self.read = self.process.stdout.readline
        self._paths = paths
        assert self.read() == b"ready\n"

    def save(self, **changes):
        born = presence.birth(self.process.pid)
        state = {"pid": self.process.pid, "born": born, "mode": "service", "ended": "", **changes}
        self._paths.state.write_text(json.dumps(state))


# Blocked and waited for, because a handler in Python would not run inside a read that began just then.
_SLEEPER = r"""
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
os.write(1, b"ready\n")
while signal.sigtimedwait({signal.SIGHUP}, 60):
    os.write(1, b"woken\n")
"""


@pytest.fixture
def sleeper(paths):
    sleeper = Sleeper(paths)
    with sleeper.process:
        sleeper.save()
        yield sleeper
        sleeper.process.kill()


OTHERS = {
    "ended": {"ended": "2026-11-22T10:00:00+00:00 idle"},
    "of another birth": {"born": "pid:[4026531836] 1"},
    "we": {"pid": os.getpid(), "born": presence.birth(os.getpid())},
    "far too large": {"pid": 2**70},
    "nobody": {"pid": 2**22 + 1},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_who_does_not_live(paths, sleeper, changes):
    """A process number alone means nothing, so no other process gets a signal."""
    assert presence.state_claims_alive(paths)
    sleeper.save(**changes)
    assert not presence.state_claims_alive(paths)
    presence.signal_service(paths)
    presence.signal_sidecar(paths, "on demand", signal.SIGKILL)
    sleeper.save()
    presence.signal_service(paths)
    assert sleeper.read() == b"woken\n"
    assert sleeper.process.poll() is None


def test_only_a_sidecar_of_that_mode_is_sent_a_signal(paths, sleeper):
    """SIGHUP is for a service alone, and SIGTERM for an on-demand sidecar alone."""
    presence.signal_sidecar(paths, "on demand", signal.SIGTERM)
    sleeper.save(mode="on demand")
    presence.signal_service(paths)
    presence.signal_sidecar(paths, "on demand", signal.SIGTERM)
    assert (sleeper.process.wait(processes.PATIENCE_S), sleeper.read()) == (-signal.SIGTERM, b"")


def test_what_says_that_a_sidecar_lives(paths, sleeper, monkeypatch):
    before = faults.descriptors()
    assert not presence.alive(paths)
    paths.lock.touch(0o600)
    assert not presence.alive(paths)
    with paths.lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert presence.alive(paths)
    faults.no_locks(monkeypatch)
    assert presence.alive(paths)
    sleeper.save(ended="now")
    assert not presence.alive(paths)
    assert faults.descriptors() == before


@pytest.mark.parametrize("text", ["", "\0" * 64, "7 (python) S", "7 (python) S x y z"], ids=range(4))
def test_a_status_that_cannot_be_understood_is_none(text, monkeypatch):
    """A container may show an empty file. The process is taken for alive, as on a system without proc(5)."""
    born = presence.birth(os.getpid())
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert presence.process_status(os.getpid()) is None
    assert presence.birth(os.getpid()) == ""
    assert presence.lives(os.getpid(), born)


@pytest.fixture
def no_proc(monkeypatch):
    """Hide proc(5) from this project, and not from psutil: thus macOS is."""
    monkeypatch.setattr(presence, "_PROC", "/nowhere")
    monkeypatch.setattr(system, "process_facts", lambda _pid: None)
    monkeypatch.setattr(system, "pid_namespace", mock.Mock(side_effect=FileNotFoundError))


@pytest.mark.usefixtures("no_proc")
def test_without_proc_psutil_tells_of_processes(paths, sleeper):
    """A process of the same number and another birth gets no signal, and a zombie does not live."""
    sleeper.save()
    assert presence.birth(sleeper.process.pid) == presence.sidecar_state(paths).born != ""
    status = presence.process_status(sleeper.process.pid)
    assert (status.parent, status.session, status.state) == (os.getpid(), os.getsid(0), "S")
    assert presence.state_claims_alive(paths)
    sleeper.save(born="0.0")
    assert not presence.state_claims_alive(paths)
    presence.signal_sidecar(paths, "service", signal.SIGKILL)
    sleeper.save()
    presence.signal_service(paths)
    assert sleeper.read() == b"woken\n"
    sleeper.process.kill()
    os.waitid(os.P_PID, sleeper.process.pid, os.WEXITED | os.WNOWAIT)
    assert not presence.state_claims_alive(paths)
    assert presence.birth(2**22 + 1) == ""
    assert not presence.is_from_before(1e12)


@pytest.mark.usefixtures("no_proc")
def test_where_nothing_tells_a_birth_only_a_held_lock_allows_a_signal(paths, sleeper, monkeypatch):
    """The number of a dead sidecar may belong to the training, and SIGHUP would end that."""
    monkeypatch.setattr(presence, "_facts_by_psutil", lambda _pid: None)
    paths.lock.touch(0o600)
    sleeper.save(born="")
    assert presence.state_claims_alive(paths)
    presence.signal_sidecar(paths, "service", signal.SIGKILL)
    with paths.lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        presence.signal_service(paths)
    assert sleeper.read() == b"woken\n"
