"""What an event loads: undisturbed, waited for once and not for long, and in nobody's way at the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from flwr_telemetry import loading
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.loading import Loading
from tests.support import homes, processes
from tests.support.processes import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Loading, threading.Event]]:
    """Give one that has waited in vain, and what ends that load."""
    patient, go_on = Loading(), threading.Event()
    monkeypatch.setattr(loading, "WAIT_S", 0.01)
    with pytest.raises(TelemetryError):
        patient.undisturbed(go_on.wait)
    monkeypatch.undo()
    yield patient, go_on
    go_on.set()


def test_modules_are_loaded_in_a_thread_that_leaves_no_trace() -> None:
    """The last module is given; Python's list of threads is as it was."""
    threads = threading.enumerate()
    assert Loading().load("json", "json.tool").__name__ == "json.tool"
    assert threading.enumerate() == threads


def test_what_the_process_has_loaded_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """But what it is loading just now does: a module that is half there is waited for."""
    monkeypatch.setattr(loading, "_start", lambda _function: pytest.fail("a thread"))
    assert Loading().load("json", "threading") is threading
    monkeypatch.setattr(threading.__spec__, "_initializing", True, raising=False)
    with pytest.raises(pytest.fail.Exception):
        Loading().load("json", "threading")


def test_who_cannot_be_loaded_is_told_where_it_was_asked_for() -> None:
    """An import's own error is raised in the thread that asked."""
    with pytest.raises(ModuleNotFoundError):
        Loading().load("there_is_no_such_module")


def test_a_load_within_a_load() -> None:
    """What is being loaded may load in turn."""
    outer, found = Loading(), []
    outer.undisturbed(lambda: found.append(outer.load("json")))
    assert [module.__name__ for module in found] == ["json"]


def test_what_was_waited_for_in_vain_is_not_waited_for_again(stuck: tuple[Loading, threading.Event]) -> None:
    """While it is still at it every further load fails at once, and holds up no fork; then all is well."""
    patient, go_on = stuck
    called: list[int] = []
    with pytest.raises(TelemetryError, match="not loaded yet"):
        patient.undisturbed(lambda: called.append(1))
    patient._before_fork()
    patient._after_fork_in_parent()
    assert called == []
    go_on.set()
    overdue = patient._overdue
    assert overdue is not None
    processes.wait_until(lambda: not overdue.locked(), what="the end of the load")
    patient.undisturbed(lambda: called.append(2))
    assert called == [2]


def test_a_forked_child_forgets_what_its_parent_waited_for(stuck: tuple[Loading, threading.Event]) -> None:
    """It has none of the threads that were at it."""
    patient, _ = stuck
    patient._start_afresh()
    assert patient.load("json").__name__ == "json"


A_HOOK_BEFORE_OURS = """
import logging, os, threading  # logging holds a lock of its own over a fork, from its import on
first, second_forks, first_may_go_on = threading.local(), threading.Event(), threading.Event()

def before():  # of two hooks the one that came first runs last, and so behind ours
    if not hasattr(first, "forks"):
        return first_may_go_on.set()
    second_forks.set()
    first_may_go_on.wait(30)

os.register_at_fork(before=before)
"""
OVERLAPPING_FORKS = """
def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def fork_first():
    first.forks = True
    fork()

def fork_second():
    second_forks.wait(30)
    fork()

threads = [threading.Thread(target=target) for target in (fork_first, fork_second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(outcome(event("PING")))
"""


def test_two_forks_at_a_time_leave_nothing_locked(home: Path) -> None:
    """The second fork waits in vain for the first one's lock, and must not make that one forget it."""
    homes.configure(home, "http://127.0.0.1:9/")
    code = A_HOOK_BEFORE_OURS + processes.PRELUDE + OVERLAPPING_FORKS
    done = processes.run(home, ["-W", "ignore", "-c", code], NEVER)
    assert (done.stdout, done.stderr) == ("spooled\n", "")


AT_THE_VERY_END = """
class Last:
    def __del__(self, event=event, outcome=outcome, print=print):
        print(outcome(event("PING")), flush=True)

Last.itself = Last()  # a cycle through a class: freed when the interpreter is all but gone
"""


def test_the_first_event_at_the_very_end_of_the_interpreter(home: Path) -> None:
    """Where no thread can be started any more nobody waits for one."""
    homes.configure(home, "http://127.0.0.1:9/")
    told = processes.workload(home, AT_THE_VERY_END, NEVER).stdout
    assert told != ""
    assert "not loaded yet" not in told


def test_a_slow_load_does_not_hold_up_the_end_of_the_process(home: Path) -> None:
    """The thread that loads is none that the interpreter waits for."""
    code = """
import threading
from flwr_telemetry import emit, loading
loading.WAIT_S = 0.01
emit._make_emitter = threading.Event().wait
print(outcome(event("PING")).partition(":")[0])
"""
    done = processes.workload(home, code, NEVER)
    assert done.stdout == "flwr_telemetry.errors.TelemetryError\n"
