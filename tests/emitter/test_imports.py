"""The guard of imports: one thread at a time, no fork amid an import, and no wait without an end."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from modulefinder import ModuleFinder

import pytest

from flwr_telemetry import imports
from flwr_telemetry.errors import LoadingError, TelemetryError
from flwr_telemetry.imports import Guard, undisturbed
from tests.support import homes, processes
from tests.support.processes import NEVER


@pytest.fixture
def busy():
    """Give a guard that another thread is in, and what ends that."""
    guard, now, go_on = Guard(), threading.Event(), threading.Event()
    thread = threading.Thread(target=guard.call, args=[lambda: (now.set(), go_on.wait(30))])

    def end():
        go_on.set()
        thread.join()

    thread.start()
    assert now.wait(30)
    yield guard, end
    end()


def test_an_import_happens_once():
    results = iter([ModuleNotFoundError, 2, 3])

    @undisturbed
    def importing():
        if (result := next(results)) is ModuleNotFoundError:
            raise result
        return result

    with pytest.raises(ModuleNotFoundError):
        importing()
    assert [importing(), importing()] == [2, 2]


def test_a_handler_that_raises_amid_an_import_leaves_nothing_locked():
    guard = Guard()
    with pytest.raises(KeyboardInterrupt):
        guard.call(lambda: signal.raise_signal(signal.SIGINT))
    with ThreadPoolExecutor() as pool:
        assert [pool.submit(guard.call, lambda: 7).result(), guard.call(lambda: 8)] == [7, 8]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_slow_import_is_waited_for_once(busy, monkeypatch, is_stopped):
    """By an event or a fork, and also where the clock stands still: the number of naps bounds the wait."""
    (guard, end), naps, real = busy, [], time.sleep
    monkeypatch.setattr(imports, "WAIT_S", 0.05)
    if is_stopped:
        monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: naps.append(seconds) or real(0))
    for _ in range(2):
        with pytest.raises(LoadingError, match="another thread still imports"):
            guard.call(lambda: None)
        guard.before_fork()
        guard.after_fork_in_parent()
    if is_stopped:
        assert sum(naps) == pytest.approx(0.05)
    monkeypatch.undo()
    end()
    assert guard.call(lambda: 7) == 7


def forked(code):
    pid = os.fork()
    if pid == 0:
        try:
            code()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a child of a test never returns into pytest
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("fault", [MemoryError, SystemError])
def test_an_import_without_memory_is_never_tried_again(fault):
    """Any other exception is no reason to give up."""
    guard, tries = Guard(), []

    def importing():
        tries.append(1)
        raise (ModuleNotFoundError, fault)[len(tries) - 1]

    for expected in (ModuleNotFoundError, fault, TelemetryError, TelemetryError):
        with pytest.raises(expected):
            guard.call(importing)
    assert len(tries) == 2


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_amid_a_slow_import_imports_nothing(busy, monkeypatch):
    """It would wait forever for a thread that it does not have, so it fails; its parent goes on."""
    guard, end = busy
    monkeypatch.setattr(imports, "WAIT_S", 0.01)
    guard.before_fork()

    def child():
        guard.after_fork_in_child()
        with pytest.raises(TelemetryError, match="forked during"):
            guard.call(lambda: None)

    assert forked(child) == 0
    guard.after_fork_in_parent()
    end()
    assert guard.call(lambda: 7) == 7


def test_a_fork_in_a_handler_that_interrupts_an_import():
    """In the child the import goes on, an event in the handler fails, and later imports work."""
    guard = Guard()

    def child():
        guard.after_fork_in_child()
        with pytest.raises(LoadingError, match="needs itself"):
            guard.call(lambda: None)

    def importing():
        guard.before_fork()
        code = forked(child)
        guard.after_fork_in_parent()
        return code

    assert (guard.call(importing), guard.call(lambda: 7)) == (0, 7)


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
        told = outcome(event("PING", {"n": os.getpid()}))
        os._exit(0 if told == "spooled" else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

codes = []
threads = [
    threading.Thread(target=lambda: (setattr(first, "forks", True), fork())),
    threading.Thread(target=lambda: (second_forks.wait(30), fork())),
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(codes, outcome(event("PING")))
"""


def test_two_forks_at_a_time_leave_nothing_locked(home):
    """The second fork waits in vain for the first one's lock, and must not make that one forget it."""
    homes.configure(home, "http://127.0.0.1:9/")
    code = A_HOOK_BEFORE_OURS + processes.PRELUDE + OVERLAPPING_FORKS
    done = processes.run(home, ["-W", "ignore", "-c", code], NEVER)
    assert (done.stdout, done.stderr) == ("[0, 0] spooled\n", "")
    assert len(homes.spooled(home)) == 3


AT_THE_VERY_END = """
class Last:
    def __del__(self, event=event, outcome=outcome, print=print):
        print(outcome(event("PING")), flush=True)

Last.itself = Last()  # a cycle through a class: freed when the interpreter is all but gone
"""


def test_the_first_event_at_the_very_end_of_the_interpreter(home):
    """Its future is done, and the process ends: nothing waits for a thread that cannot run any more."""
    homes.configure(home, "http://127.0.0.1:9/")
    assert processes.workload(home, AT_THE_VERY_END, NEVER).stdout != ""


LOADED = """
import sys
sys.path.append(sys.executable)  # it may be an archive, and then only `importlib.metadata` can tell
told = outcome(event("PING"))
flush(0)
print(json.dumps([told, sorted(sys.modules)]))
"""


def test_a_tool_that_freezes_programs_finds_all_imports(home, tmp_path):
    """No module is imported by a string: not for settings, for payloads or for a flush."""
    homes.write_settings(home, "url = 'http://127.0.0.1:9/'\n")  # these quotes need a parser
    told, loaded = processes.answers(home, LOADED, {**NEVER, "FLWR_TELEMETRY_LOGGING": "1"})
    assert told == "spooled"
    program = tmp_path / "program.py"
    program.write_text("import flwr_telemetry")
    finder = ModuleFinder()
    finder.run_script(str(program))
    # Python itself imports others by a string, for example codecs.
    ours = {name for name in loaded if name.partition(".")[0] == "flwr_telemetry"}
    others = "tomllib urllib.parse ipaddress importlib.metadata email.parser json msgpack".split()
    assert {"flwr_telemetry.log", "flwr_telemetry.settings_file", "flwr_telemetry.spool"} < ours
    assert {*ours, *others} <= {*loaded} & finder.modules.keys()
