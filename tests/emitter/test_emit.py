"""event() and flush(): events that wait for the imports of another one, and errors that must not get out."""

import dis
import signal
import sys

import pytest

from flwr_telemetry import emit
from flwr_telemetry.emitter import Emitter
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.spool.posix import Writer
from tests.emitter.conftest import numbers
from tests.support import homes, processes
from tests.support.processes import NEVER

SLOW = """
import importlib.util, signal, threading, time
begun, go_on = threading.Event(), threading.Event()

class Slow:
    at_the_moment = staticmethod(lambda: go_on.wait(30))

    def find_spec(self, name, path=None, target=None):
        if name == "flwr_telemetry.spool" and self in sys.meta_path:
            sys.meta_path.remove(self)
            begun.set()
            self.at_the_moment()
        return None

slow = Slow()
sys.meta_path.insert(0, slow)
first = threading.Thread(target=event, args=("PING", {"n": 0}), daemon=True)
"""


def test_an_event_that_meets_a_slow_import_is_kept(home):
    """It waits a moment. Then it is in memory, as it was at the call, and appended when the import ends."""
    code = """
first.start()
begun.wait()
before_us = time.time_ns() // 1000
details = {"n": 1, "inner": [os.environ["HOME"]]}
told = [outcome(event(EventType.PING, details)), outcome(event("PING", {"n": 2}))]
details["inner"].append(1)
told.append(outcome(event("PING", {"n": 3, "bad": {1}})))
after_us = time.time_ns() // 1000
go_on.set()
first.join()
print(json.dumps([told, before_us, after_us]))
"""
    told, before_us, after_us = processes.answers(home, SLOW + code, NEVER)
    assert told[:2] == ["spooled"] * 2
    assert "must be a JSON-like mapping" in told[2]
    first, *kept = homes.spooled(home)
    assert [event["event_details"] for event in kept] == [{"n": 1, "inner": ["<redacted>"]}, {"n": 2}]
    dates = [event["context"]["date"] for event in (first, *kept)]
    assert dates[0] < before_us <= dates[1] < dates[2] <= after_us


def test_an_event_that_meets_a_slow_import_is_appended_at_exit(home):
    """The main thread ends while a daemon thread still imports."""
    code = """
import atexit
atexit.register(lambda: threading.Timer(0.3, go_on.set).start())  # runs after the emitter's own
atexit.register(go_on.set)
first.start()
begun.wait()
print(json.dumps(outcome(event("PING", {"n": 1}))))
"""
    assert processes.answers(home, SLOW + code, NEVER) == "spooled"
    assert 1 in numbers(home)


@pytest.mark.parametrize(
    ("n", "error", "code", "types"),
    [
        ("0", "SystemExit", 0, ["ENTER", "LEAVE"]),
        ("0", "KeyboardInterrupt", -signal.SIGINT, []),
        ("{1}", "SystemExit(7)", 7, ["LEAVE"]),
    ],
    ids=["ends", "interrupted", "refused"],
)
def test_a_handler_that_ends_the_process_amid_the_first_import(home, n, error, code, types):
    """As Flower's own handler does: the ENTER is appended, and so is the LEAVE of the handler.

    After Ctrl-C both are lost, with a warning: to load modules then would change how the process ends.
    An ENTER that is refused does not replace what the handler raises.
    """
    program = f"""
def handler(*_):
    print(outcome(event("LEAVE", {{"n": 1}})), flush=True)
    raise {error}

signal.signal(signal.SIGTERM, handler)
slow.at_the_moment = lambda: signal.raise_signal(signal.SIGTERM)
event("ENTER", {{"n": {n}}})
"""
    done = processes.run(home, ["-c", processes.PRELUDE + SLOW + program], NEVER)
    assert (done.stdout, done.returncode) == ("spooled\n", code)
    assert [event["event_type"] for event in homes.spooled(home)] == types
    assert ("2 events are lost" in done.stderr) is (not types)


INTERRUPTED = """
import random, signal, time

class OverError(Exception):
    pass

class Handler:
    raised = 0

    def handle(self, *_):
        self.raised += 1
        raise OverError

handler, passed, refused = Handler(), 0, set()
event("PING")
signal.signal(signal.SIGALRM, handler.handle)
while handler.raised < 300:
    before = handler.raised
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
        while handler.raised == before:
            refused.add(repr(event("PING").exception()))
    except OverError:
        passed += 1

def over(_signal, _frame):
    raise TimeoutError

signal.signal(signal.SIGALRM, over)
signal.setitimer(signal.ITIMER_REAL, 0.2)
began = time.monotonic()
try:
    flush(60)
except TimeoutError:
    passed += 1
print(json.dumps([passed, sorted(refused), time.monotonic() - began < 30]))
"""


def test_what_a_handler_raises_reaches_the_program(home):
    """It may be the end of a time that the program has set for itself, by `signal.alarm`."""
    homes.configure(home, "http://127.0.0.1:9/x", offline_exit_s=1)
    passed, refused, was_in_time = processes.answers(home, INTERRUPTED)
    assert (refused, was_in_time) == (["None"], True)
    assert passed >= 299  # Python drops an exception that a handler raises in a destructor or a callback


def test_a_kept_event_without_consent(home):
    """Nothing is written for it, and an opt-out in the environment is answered as ever."""
    code = """
first.start()
begun.wait()
told = outcome(event("PING", {"n": 1}))
go_on.set()
first.join()
print(json.dumps(told))
"""
    homes.write_settings(home, "enabled = false\n")
    before = homes.tree(home)
    assert processes.answers(home, SLOW + code, NEVER) == "spooled"
    assert processes.answers(home, SLOW + code, {"FLWR_TELEMETRY_ENABLED": "0"}) == "disabled"
    assert homes.tree(home) == before


def test_a_kept_event_is_not_the_child_s(home):
    """A child that is forked by a handler amid the import leaves the events to its parent."""
    code = """
def at_the_moment():
    event("PING", {"n": 1})
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        at_the_moment.is_child = True

slow.at_the_moment = at_the_moment
event("PING", {"n": 0})
if hasattr(at_the_moment, "is_child"):
    os._exit(0)
"""
    processes.workload(home, SLOW + code, NEVER)
    assert numbers(home).count(1) == 1


def test_too_many_kept_events_are_refused(monkeypatch):
    monkeypatch.setattr(emit, "MAX_KEPT", 2)
    monkeypatch.setattr(emit, "_kept", type(emit._kept)())
    assert [emit._keep("flwr", "PING", None, None).result() for _ in range(2)] == ["spooled"] * 2
    with pytest.raises(TelemetryError, match="2 events wait"):
        emit._keep("flwr", "PING", None, None)


AT_THE_LIMIT = """
import sys
{before}
def deeper(left):
    return deeper(left - 1) if left else outcome(event("PING", {{"n": 1}}))

told = set()
for left in range({limit} - 60, {limit}):
    try:
        told.add(deeper(left))
    except RecursionError as error:
        at = error.__traceback__
        while at:
            told.add("raised through " + at.tb_frame.f_code.co_filename)
            at = at.tb_next
print(json.dumps(sorted(told)))
"""


@pytest.mark.parametrize("before", ["", "event('PING')"], ids=["first", "later"])
def test_nothing_is_raised_near_the_recursion_limit(home, before):
    """An event that finds too little stack fails; the caller's own calls raise, and none of ours."""
    code = AT_THE_LIMIT.format(before=before, limit=1000)
    told = processes.answers(home, code, NEVER)
    assert "raised through <string>" in told
    assert not [line for line in told if line.startswith("raised through") and "flwr_telemetry" in line]


OUT_OF_MEMORY = """
import mmap, resource
details, answers = {{"n": 1, "s": "x" * 1000}}, {{True: b"raised", False: b"still here"}}
hog, steps, raised = [None] * 20_000, range({free}, 3000, 25), False
with open("/proc/self/statm") as file:
    limit = int(file.read().split()[0]) * mmap.PAGESIZE + (2 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    for taken in range(20_000):
        hog[taken] = bytes(1000 + taken % 2)
except MemoryError:
    left = taken
for free in steps:
    while left > max(0, taken - free):
        left -= 1
        hog[left] = None
    try:
        event("PING", details)
    except BaseException:
        raised = True
os.write(1, answers[raised])
"""


@pytest.mark.parametrize("free", [0, 900, 1200])
@pytest.mark.parametrize("before", ["", "event('PING')"], ids=["first", "later"])
def test_nothing_is_raised_without_memory(home, before, free):
    """The process has taken all of its memory, and gives back a little before each event."""
    code = processes.PRELUDE + before + OUT_OF_MEMORY.format(free=free)
    done = processes.run(home, ["-c", code], NEVER)
    assert (done.stdout, done.returncode) == ("still here", 0), done.stderr


# CPython before 3.14 never leaves a `try` that stands late in a long function, if memory runs out there.

_UNIT_BYTES = 2
_LARGEST_KEPT = 256
"""Python keeps the objects of the numbers up to this one, and needs memory for each larger one."""

FUNCTIONS = [emit.event, emit._report, Emitter.emit, Emitter._emit_alone, Emitter._emit, Emitter._take]
FUNCTIONS += [Emitter._pack, Writer.append, Writer._append, Writer._is_kept, Writer._is_written]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="it needs no memory there")
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_the_way_of_an_event_has_no_try_late_in_a_function(function):
    """The interpreter notes the place of the instruction, and begins again without an end if it cannot."""
    for entry in dis._parse_exception_table(function.__code__):
        assert not entry.lasti or entry.end // _UNIT_BYTES <= _LARGEST_KEPT + 1


def test_a_failure_cannot_fail(monkeypatch):
    """Neither a log nor a future that raises changes that event() gives a future."""

    def broken(*_):
        raise MemoryError

    for name in ("_emitter", "warn", "Future"):
        monkeypatch.setattr(emit, name, broken)
    monkeypatch.setattr(emit, "_loaded", None)
    for call in (lambda: emit.event("PING"), lambda: emit.report("flwr", "PING", None)):
        assert isinstance(call().exception(), TelemetryError)
    assert emit.flush(0) is False
