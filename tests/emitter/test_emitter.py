"""The object of a process: its refreshes, and its behaviour under forks, signals and changes of the home."""

import fcntl
import logging
import time

import pytest

from flwr_telemetry import emit, emitter, launch, log, presence
from flwr_telemetry.emitter import Emitter
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
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
        return self.emitter.emit("PING", {"n": number}).result()


@pytest.fixture
def subject(monkeypatch):
    before = faults.descriptors()
    monkeypatch.setenv("FLWR_TELEMETRY_SIDECAR", "never")
    subject = Subject()
    monkeypatch.setattr(emitter, "time", subject)
    yield subject
    subject.emitter._close_writer()
    assert faults.descriptors() == before


def numbers(home):
    return [event["event_details"]["n"] for event in homes.spooled(home)]


def test_files_are_checked_again_once_a_second(home, subject):
    assert subject.emit(0) == "spooled"
    homes.write_settings(home, "enabled = false\n")
    subject.now_s += 0.9 * launch.RECHECK_S
    assert subject.emit(1) == "spooled"
    subject.now_s += 0.1 * launch.RECHECK_S
    assert subject.emit(2) == "disabled"
    homes.write_settings(home, "")
    assert subject.emit(3) == "disabled"
    subject.now_s += launch.RECHECK_S
    assert subject.emit(4) == "spooled"
    assert numbers(home) == [0, 1, 4]


def test_a_variable_counts_at_once(home, subject, monkeypatch):
    assert subject.emit(0) == "spooled"
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    assert subject.emit(1) == "disabled"
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED")
    assert subject.emit(2) == "spooled"
    assert numbers(home) == [0, 2]


def test_another_home_in_the_same_process(home, tmp_path, subject, monkeypatch):
    other = tmp_path / "home" / "other"
    assert subject.emit(0) == "spooled"
    open_before = len(faults.descriptors())
    monkeypatch.setenv("FLWR_HOME", str(other))
    assert subject.emit(1) == "spooled"
    monkeypatch.setenv("FLWR_HOME", str(home))
    assert subject.emit(2) == "spooled"
    monkeypatch.delenv("FLWR_HOME")
    (tmp_path / "third").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "third"))
    assert subject.emit(3) == "spooled"
    homes_ = [home, other, tmp_path / "third" / ".flwr"]
    assert list(map(numbers, homes_)) == [[0, 2], [1], [3]]
    contexts = [event["context"] for each in homes_ for event in homes.spooled(each)]
    assert len({context["cluster"] for context in contexts}) == 1
    assert len({context["source"] for context in contexts}) == 3
    assert len(faults.descriptors()) == open_before


def test_an_event_within_an_event_goes_apart(home, subject):
    """Where the lock is held, by a nested signal or a stuck thread, a descriptor of its own does it."""
    assert subject.emit(0) == "spooled"
    before = faults.descriptors()
    with subject.emitter._lock:
        assert (subject.emit(1), subject.emit(2)) == ("spooled", "spooled")
        assert subject.emitter._lock.locked()
    assert faults.descriptors() == before
    assert subject.emit(3) == "spooled"
    events = homes.spooled(home)
    assert numbers(home) == [0, 1, 2, 3]
    dates = [event["context"]["date"] for event in events]
    assert dates == sorted(set(dates))
    assert len({event["context"]["cluster"] for event in events}) == 1


@pytest.mark.parametrize("is_asleep", [False, True])
def test_a_clock_that_stands_hangs_nothing(home, subject, monkeypatch, is_asleep):
    """A virtual clock, and a sleep that returns at once, end the waits of an event and of a flush, too."""
    assert subject.emit(0) == "spooled"
    naps = []
    monkeypatch.setattr(emitter, "time", time)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    if is_asleep:
        monkeypatch.setattr(time, "sleep", naps.append)
    monkeypatch.setattr(subject.emitter, "_wake", lambda: launch.Wake.STARTED)
    assert not subject.emitter.flush(0.2)
    with subject.emitter._lock:
        subject.emitter._holder = 1  # another thread
        assert subject.emit(1) == "spooled"
    assert numbers(home) == [0, 1]
    assert len(naps) == (60 if is_asleep else 0)


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
    writer = subject.emitter._writer
    assert writer is not None
    assert writer._handle is not None
    fcntl.flock(writer._handle.descriptor, fcntl.LOCK_SH)
    with subject.emitter._lock:
        assert subject.emit(1) == "spooled"
    with homes.open_segment(home).open("rb") as sealer, pytest.raises(BlockingIOError):
        fcntl.flock(sealer, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(writer._handle.descriptor, fcntl.LOCK_UN)


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


def test_a_malformed_file_is_warned_of_when_it_changes(home, subject):
    homes.write_settings(home, "enabled = 1\n")
    for number in range(3):
        assert subject.emit(number) == "disabled"
        subject.now_s += 2 * launch.RECHECK_S
    ((_, text),) = subject.warnings
    assert "line 1: enabled must be true or false" in text


def test_a_sidecar_that_cannot_be_started_costs_no_event(home, subject, monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_SIDECAR", "always")
    host = Home(home).host()
    host.root.mkdir(parents=True, mode=0o700)
    host.telemetry.chmod(0o700)
    host.lock.symlink_to("elsewhere")
    for number in range(3):
        assert subject.emit(number) == "spooled"
        subject.now_s += 2 * launch.RECHECK_S
    assert {cause for cause, _ in subject.warnings} == {"wake:SpoolUnsafeError"}
    assert numbers(home) == [0, 1, 2]
    assert not processes.sidecars(home)


def test_what_cannot_be_loaded_for_a_start_costs_no_event(home, subject, monkeypatch):
    """The package was removed under a process that has reported before."""
    monkeypatch.setenv("FLWR_TELEMETRY_SIDECAR", "always")

    def gone():
        raise ModuleNotFoundError

    monkeypatch.setattr(launch, "_for_a_start", gone)
    assert subject.emit(0) == "spooled"
    assert [cause for cause, _ in subject.warnings] == ["wake:ModuleNotFoundError"]
    assert not processes.sidecars(home)


def test_who_delivers_is_asked_at_most_once_a_second(home, subject, monkeypatch):
    """Only an event that refreshes also wakes."""
    asked = []
    monkeypatch.setattr(presence, "alive", lambda _host: not asked.append(subject.now_s))
    for number in range(10):
        assert subject.emit(number) == "spooled"
        subject.now_s += 0.3
    assert asked == pytest.approx([1000.0, 1001.2, 1002.4])


@pytest.fixture
def quiet_process(monkeypatch):
    monkeypatch.setattr(log, "_warned", set())


def _first(_number):
    return "the same"


def _each(number):
    return f"cause {number}"


@pytest.mark.parametrize(("cause", "count"), [(_first, 1), (_each, log.MAX_WARNINGS)])
def test_one_warning_per_cause(quiet_process, caplog, cause, count):
    for number in range(200):
        log.warn(cause(number), "text with a % in it")
    assert [record.getMessage() for record in caplog.records] == ["text with a % in it"] * count
    assert {(record.name, record.levelno) for record in caplog.records} == {
        ("flwr-telemetry", logging.WARNING)
    }


def test_what_is_unexpected_is_told_without_its_content(quiet_process, caplog, monkeypatch):
    """A fault of our own becomes one of our classes; its text, which may quote the event, stays inside."""

    def fail(*_):
        raise KeyError("secret")

    monkeypatch.setattr(Emitter, "emit", fail)
    error = emit.event("PING").exception()
    assert type(error) is TelemetryError
    assert isinstance(error.__cause__, KeyError)
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text + str(error)
    monkeypatch.setattr(Emitter, "flush", fail)
    assert emit.flush() is False
