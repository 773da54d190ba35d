"""Clocks that the program around replaces: freezegun, libfaketime. No event and no flush hangs."""

import shutil
import sys

import pytest

from tests.faults.scene import place
from tests.support import homes, processes, wire

EVERY_WAIT = """
import fcntl, importlib.util, threading
go_on, began = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "flwr_telemetry.spool" and self in sys.meta_path:
            sys.meta_path.remove(self)
            began.set()
            go_on.wait()

def all_waits():
    told = []
    sys.meta_path.insert(0, Slow())
    first = threading.Thread(target=lambda: told.append(outcome(event("PING", {"n": 0}))))
    first.start()
    began.wait()
    told.append(outcome(event("PING", {"n": 1})))  # waits for the import of another thread
    go_on.set()
    first.join()
    held, over = threading.Event(), threading.Event()

    def hold():
        with emit._emitter()._lock:
            held.set()
            over.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    told.append(outcome(event("PING", {"n": 2})))  # waits for the event of another thread
    over.set()
    other.join()
    with open(PATH, "rb") as sealer:
        fcntl.flock(sealer, fcntl.LOCK_EX)
        told.append(outcome(event("PING", {"n": 3})))  # waits for the segment's lock
    assert not flush(0.5)
    return told

from flwr_telemetry import emit
"""
FREEZEGUN = """
from freezegun import freeze_time
freeze_time("2030-01-01").start()
"""
# Those of libfaketime, and freezegun.
TIMES = [
    "2030-01-01 00:00:00",
    "@2030-01-01 00:00:00",
    "@2001-01-01 00:00:00",
    "+0 x10",
    "+0 x0",
    "freezegun",
]


@pytest.mark.parametrize("moment", TIMES)
def test_a_clock_that_the_program_around_replaces(home, moment):
    faketime, setup = ["faketime", "-f", moment], ""
    if moment == "freezegun":
        pytest.importorskip("freezegun")
        faketime, setup = [], FREEZEGUN
    elif not shutil.which("faketime"):
        pytest.skip("libfaketime is not installed")
    homes.configure(home, "http://127.0.0.1:9/", respawn_s=1000)
    place(home, "sidecar.lock", b"started\n")  # so that flush() waits for a sidecar, and starts none
    code = EVERY_WAIT.replace("PATH", repr(str(homes.open_segment(home))))
    words = ["-W", "ignore", "-c", f"{processes.PRELUDE}{code}{setup}print(json.dumps(all_waits()))"]
    done = processes.program(home, [*faketime, sys.executable, *words])
    assert done.stdout == '["spooled", "spooled", "spooled", "spooled"]\n', done.stderr
    assert wire.serials(homes.spooled(home)) == [0, 1, 2, 3]
