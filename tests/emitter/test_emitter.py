"""The object of a process: its refreshes, and its behaviour under forks, signals and changes of the home."""

import contextlib
import fcntl
import logging
import os
import re
import time
from collections import ChainMap
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from unittest import mock

import pytest

from flwr_telemetry import emit, emitter, launch, locks, log, presence, settings, source
from flwr_telemetry.emitter import Emitter
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from tests.emitter.conftest import is_free, numbers
from tests.support import faults, homes, processes


class Subject:
    """An emitter, its warnings, and a clock that a test moves."""

    def __init__(self):
        self.now_s = 1000.0
        self.warnings = []
        self.emitter = Emitter(lambda cause, text: self.warnings.append((cause, text)))

    # What the emitter takes for the module `time`; that of the spool stays the real one.

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    time_ns = staticmethod(time.time_ns)

    def emit(self, number):
        return emit.event("PING", {"n": number}).result()


@pytest.fixture
def subject(monkeypatch):
    before = faults.descriptors()
    monkeypatch.setenv("FLWR_TELEMETRY_SIDECAR", "never")
    subject = Subject()
    monkeypatch.setattr(emit, "_loaded", subject.emitter)
    monkeypatch.setattr(emit, "warn", subject.emitter._warn)
    monkeypatch.setattr(emitter, "time", subject)
    yield subject
    subject.emitter._close_writer()
    assert faults.descriptors() == before


def test_files_are_checked_again_once_a_second(home, subject):
    told = [subject.emit(0)]
    for text, waits in (("enabled = false\n", (0.9, 0.1)), ("", (0, 1))):
        homes.write_settings(home, text)
        for part in waits:
            subject.now_s += part * settings.RECHECK_S
            told.append(subject.emit(len(told)))
    assert told == ["spooled", "spooled", "disabled", "disabled", "spooled"]
    assert numbers(home) == [0, 1, 4]


@pytest.mark.parametrize("step_s", [-1e9, -0.001, 1e9])
def test_a_clock_that_is_set_hides_no_change(home, subject, step_s):
    """A test suite sets the clock that should never be set, and sets it back."""
    subject.now_s += abs(step_s)
    assert subject.emit(0) == "spooled"
    homes.write_settings(home, "enabled = false\n")
    subject.now_s += step_s
    assert subject.emit(1) == "disabled"


def test_a_clock_that_stands_hides_no_change_for_long(home, subject):
    told = [subject.emit(0)]
    homes.write_settings(home, "enabled = false\n")
    while told[-1] == "spooled" and len(told) < 2 * emitter.MAX_EVENTS:
        told.append(subject.emit(len(told)))
    assert told[-1] == "disabled"


VIEWS = [None, lambda values: values, MappingProxyType, lambda values: ChainMap({}, values)]


@pytest.mark.parametrize("view", VIEWS, ids=["Python's own", "plain", "read-only", "layered"])
def test_a_variable_counts_at_once(home, subject, monkeypatch, view):
    """A program may replace ``os.environ`` as a whole."""
    assert subject.emit(0) == "spooled"
    with monkeypatch.context() as patch:
        values = dict(os.environ) if view else os.environ
        patch.setattr(os, "environ", view(values) if view else values)
        assert subject.emit(1) == "spooled"
        patch.setitem(values, "FLWR_TELEMETRY_ENABLED", "0")
        assert subject.emit(2) == "disabled"
    assert subject.emit(3) == "spooled"
    assert numbers(home) == [0, 1, 3]


def test_a_relative_home_stays_where_it_was(home, tmp_path, subject, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    homes.write_settings(home, "enabled = false\n")
    monkeypatch.chdir(home.parent)
    for path in (home.name, home.name, home, home.name):
        monkeypatch.setenv("FLWR_HOME", str(path))
        assert [subject.emit(0), subject.emit(1)] == ["disabled", "disabled"]
        subject.now_s += settings.RECHECK_S
        monkeypatch.chdir(elsewhere)
    assert homes.tree(elsewhere) == []
    assert homes.tree(home) == ["telemetry", "telemetry/config.toml"]


def test_another_home_in_the_same_process(home, tmp_path, subject, monkeypatch):
    """Events go where FLWR_HOME, or HOME without it, points at their time; the cluster stays."""
    other, third = tmp_path / "home" / "other", tmp_path / "third" / ".flwr"
    assert subject.emit(0) == "spooled"
    open_before = len(faults.descriptors())
    for number, path in enumerate((other, home), start=1):
        monkeypatch.setenv("FLWR_HOME", str(path))
        assert subject.emit(number) == "spooled"
    monkeypatch.delenv("FLWR_HOME")
    third.parent.mkdir()
    monkeypatch.setenv("HOME", str(third.parent))
    assert subject.emit(3) == "spooled"
    homes_ = [home, other, third]
    assert list(map(numbers, homes_)) == [[0, 2], [1], [3]]
    contexts = [event["context"] for each in homes_ for event in homes.spooled(each)]
    assert [len({context[name] for context in contexts}) for name in ("cluster", "source")] == [1, 3]
    assert len(faults.descriptors()) == open_before


def test_an_event_within_an_event_goes_apart(home, subject):
    """Where the lock is held, by a nested signal or a stuck thread, a descriptor of its own does it."""
    assert subject.emit(0) == "spooled"
    before = faults.descriptors()
    with subject.emitter._lock:
        assert (subject.emit(1), subject.emit(2)) == ("spooled", "spooled")
        assert subject.emitter._lock._is_owned()
    assert faults.descriptors() == before
    assert subject.emit(3) == "spooled"
    assert numbers(home) == [0, 1, 2, 3]
    contexts = [event["context"] for event in homes.spooled(home)]
    dates = [context["date"] for context in contexts]
    assert dates == sorted(set(dates))
    assert len({context["cluster"] for context in contexts}) == 1


@contextlib.contextmanager
def held_elsewhere(lock):
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(lock.acquire).result()
        try:
            yield
        finally:
            elsewhere.submit(lock.release).result()


@pytest.mark.parametrize("is_asleep", [False, True])
def test_a_clock_that_stands_hangs_nothing(home, subject, monkeypatch, is_asleep):
    """A virtual clock, and a sleep that returns at once, end the waits of an event and of a flush, too."""
    assert subject.emit(0) == "spooled"
    naps = []
    monkeypatch.setattr(emitter, "time", time)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    if is_asleep:
        monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(subject.emitter, "_wake", lambda _: launch.Wake.STARTED)
    assert not subject.emitter.flush(0.2)
    with held_elsewhere(subject.emitter._lock):
        naps.clear()
        assert subject.emit(1) == "spooled"
    assert numbers(home) == [0, 1]
    assert len(naps) == (50 if is_asleep else 0)


def test_a_handler_interrupts_a_wait(home, subject, monkeypatch):
    """Its event waits for nothing; otherwise the next signal would interrupt it, and so on for ever."""
    assert subject.emit(0) == "spooled"
    monkeypatch.setattr(emitter, "time", time)
    depths, now = [], []

    def nap(_):
        now.append(1)
        depths.append(len(now))
        assert len(depths) >= 50 or subject.emit(len(depths)) == "spooled"
        now.pop()

    with homes.open_segment(home).open("rb") as sealer, monkeypatch.context() as patch:
        patch.setattr(time, "sleep", nap)
        with held_elsewhere(subject.emitter._lock):
            assert subject.emit(100) == "spooled"
        fcntl.flock(sealer, fcntl.LOCK_EX)
        assert subject.emit(101) == "spooled"
    assert set(depths) == {1}
    assert sorted(numbers(home)) == [*range(len(depths) + 1), 100, 101]


def test_a_handler_that_interrupts_the_repair_of_a_source(home, subject, monkeypatch):
    """Its event does not wait for the lock of the source file, which its own thread holds: it is kept."""
    told, real = [], locks.try_exclusive

    def try_exclusive(descriptor):
        result = real(descriptor)
        if not told:
            told.append(result)
            told.append(subject.emit(1))
        return result

    homes.telemetry(home).mkdir(parents=True, mode=0o700)
    (home / "source").touch()
    monkeypatch.setattr(source, "try_exclusive", try_exclusive)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    assert subject.emit(0) == "spooled"
    assert told == [locks.LockResult.HELD, "spooled"]
    assert numbers(home) == [0, 1]
    assert len({event["context"]["source"] for event in homes.spooled(home)} - {"unavailable"}) == 1


def test_a_source_that_stays_locked_is_waited_for_once(home, subject, monkeypatch):
    """Not again at each look, once a second: the program that has the lock may keep it for ever."""
    homes.telemetry(home).mkdir(parents=True, mode=0o700)
    (home / "source").touch()
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    with (home / "source").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for n in range(3):
            assert subject.emit(n) == "spooled"
            assert 0 < sum(naps) <= 1.01 * source.HEAL_WAIT_S
            subject.emitter._refresh_at = 0.0
    assert subject.emit(3) == "spooled"
    assert homes.spooled(home)[-1]["context"]["source"] == (home / "source").read_text()


def test_who_delivers_the_event_of_a_handler_is_asked(home, subject, monkeypatch):
    """Also if the event that it interrupts needs not ask, because it came within a second."""
    woken = []
    monkeypatch.setattr(launch, "wake", lambda *_: woken.append(1))
    assert subject.emit(0) == "spooled"
    with monkeypatch.context() as patch:
        faults.amid(patch, lambda: subject.emitter.emit("PING", {"n": 2}, "flwr"))
        assert subject.emit(1) == "spooled"
    assert len(woken) == 2


def test_a_handler_that_interrupts_the_write(home, subject, monkeypatch):
    assert subject.emit(0) == "spooled"
    before = faults.descriptors()
    faults.amid(monkeypatch, lambda: subject.emit(2))
    assert subject.emit(1) == "spooled"
    assert faults.descriptors() == before
    assert subject.emit(3) == "spooled"
    assert sorted(numbers(home)) == [0, 1, 2, 3]
    dates = [event["context"]["date"] for event in homes.spooled(home)]
    assert len(set(dates)) == len(dates)


def test_an_event_apart_leaves_the_lock_of_the_outer_one_alone(home, subject):
    """The inner event unlocks its own description of the segment, not the one it interrupted."""
    assert subject.emit(0) == "spooled"
    descriptor = subject.emitter._writer._handle.descriptor
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    with subject.emitter._lock:
        assert subject.emit(1) == "spooled"
    assert not is_free(homes.open_segment(home))
    fcntl.flock(descriptor, fcntl.LOCK_UN)


FORK = """
import fcntl, threading
from flwr_telemetry import emit

assert outcome(event("PING", {"n": 0})) == "spooled"
emitter = emit._emitter()
descriptor = emitter._writer._handle.descriptor
path = os.readlink(f"/proc/self/fd/{descriptor}")

def free():
    with open(path, "rb") as sealer:
        try:
            fcntl.flock(sealer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

def child():
    try:
        inherited = os.path.exists(f"/proc/self/fd/{descriptor}")
        told = outcome(event("PING", {"n": 1}))
        unlocked = free()
        os._exit(0 if (inherited, told, unlocked) == (False, "spooled", False) else 1)
    except BaseException:
        os._exit(2)

def fork():
    pid = os.fork()
    if not pid:
        child()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

codes = []
fcntl.flock(descriptor, fcntl.LOCK_SH)  # as if amid an event
emitter._lock.acquire()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
held = not free()
emitter._lock.release()
fcntl.flock(descriptor, fcntl.LOCK_UN)
told = outcome(event("PING", {"n": 2}))
print(json.dumps([codes, held, free(), told]))
"""


def test_a_fork_in_a_thread_amid_an_event(home):
    """The child closes what it inherited and emits; the lock of its parent is neither kept nor lost."""
    env = {"FLWR_TELEMETRY_SIDECAR": "never", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    assert (processes.answers(home, FORK, env), numbers(home)) == ([[0], True, True, "spooled"], [0, 1, 2])
    assert len({event["context"]["cluster"] for event in homes.spooled(home)}) == 1


NONE_STARTED = "No sidecar could be started "


@pytest.mark.parametrize("fault", ["ModuleNotFoundError", "SpoolUnsafeError"])
def test_a_sidecar_that_cannot_be_started_costs_no_event(home, subject, monkeypatch, fault):
    """The package was removed under a process that has reported, or a link lies in the lock's place."""
    monkeypatch.setenv("FLWR_TELEMETRY_SIDECAR", "always")
    if fault == "ModuleNotFoundError":
        monkeypatch.setattr(launch, "wake", mock.Mock(side_effect=ModuleNotFoundError))
    else:
        host = Home(home).host()
        host.root.mkdir(parents=True, mode=0o700)
        host.telemetry.chmod(0o700)
        host.lock.symlink_to("elsewhere")
    for number in range(3):
        assert subject.emit(number) == "spooled"
        subject.now_s += 2 * settings.RECHECK_S
    assert {text.partition("(")[0] for _, text in subject.warnings} == {NONE_STARTED}
    assert len({cause for cause, _ in subject.warnings}) == 1
    assert numbers(home) == [0, 1, 2]
    assert not processes.sidecars(home)


def test_who_delivers_is_asked_at_most_once_a_second(home, subject, monkeypatch):
    asked = []
    monkeypatch.setattr(presence, "alive", lambda _host: not asked.append(subject.now_s))
    for number in range(10):
        assert subject.emit(number) == "spooled"
        subject.now_s += 0.3
    assert asked == pytest.approx([1000.0, 1001.2, 1002.4])


def test_warnings_are_few_and_tell_what_is_unexpected_without_its_content(caplog, monkeypatch):
    """A fault of our own becomes one of our classes, which tells the place; its text may quote the event."""
    monkeypatch.setattr(log, "_warned", set())
    for name in ("emit", "flush"):
        monkeypatch.setattr(Emitter, name, mock.Mock(side_effect=KeyError("secret")))
    error = emit.event("PING").exception()
    assert (type(error), error.__cause__, error.__context__) == (TelemetryError, None, None)
    assert re.search(r"unexpected KeyError in flwr_telemetry\.emit, line \d+;", caplog.text)
    assert "secret" not in caplog.text + str(error)
    assert emit.flush() is False
    caplog.clear()
    monkeypatch.setattr(log, "_warned", set())
    for number in range(200):
        log.warn(f"cause {number}", "text with a % in it")
    told = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert told == [("flwr-telemetry", logging.WARNING, "text with a % in it")] * log.MAX_WARNINGS


CHILDREN = """
import time
def report(n, *sizes):
    for _ in range(n):
        if not sizes:
            assert outcome(event("CHILD")) == "spooled"
        elif os.fork() == 0:
            report(*sizes)
            os._exit(0)
        else:
            os.wait()

now_ns = time.time_ns()
time.time_ns = lambda: now_ns
assert outcome(event("START")) == "spooled"
now_ns -= {}
report(*{})
"""


@pytest.mark.parametrize(
    ("set_back_ns", "sizes"),
    [(10**9, [20, 10]), (0, [5, 5, 8])],
    ids=["set_back", "standing_for_grandchildren"],
)
def test_children_report_the_same_at_different_times(home, set_back_ns, sizes):
    """They share a cluster ID. Each counts on from its parent's last date, because the clock does not."""
    processes.workload(home, CHILDREN.format(set_back_ns, sizes), processes.NEVER)
    contexts = [event["context"] for event in homes.spooled(home)]
    dates = [context["date"] for context in contexts]
    assert len(dates) == len(set(dates)) == 201
    assert max(dates) - min(dates) < 1_010_000
    assert len({context["cluster"] for context in contexts}) == 1
