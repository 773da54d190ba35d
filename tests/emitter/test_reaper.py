"""The process that reaps a sidecar: init, a training that is init, or none; in a PID namespace."""

import sys

import pytest

from tests.support import homes, hosts, processes, wire

TOOLS = """
import json, os, subprocess, sys, time
from flwr_telemetry import event

def wait_until(condition):
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)

def fields(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except OSError:
        return "?", 0, 0, os.getsid(0)

def sidecars():
    "The state of every process that is or was a sidecar, by its session: none of ours has that."
    found = [fields(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) > 1]
    return [state for state, _, _, session, *_ in found if int(session) != os.getsid(0)]

def emit():
    assert event("PING").result() == "spooled"

def delivered():
    "Emit, and wait until the sidecar that this starts has delivered and ended."
    emit()
    wait_until(lambda: "Z" in sidecars() or None)
"""


def alone(home, code):
    return processes.program(home, hosts.container([sys.executable, "-c", TOOLS + code]))


def test_a_training_that_is_the_first_process_reaps_its_sidecars(home, collector):
    """At the next event that needs one: never more than one zombie, and every event is delivered."""
    homes.configure(home, collector.url, idle_exit_s=0.2)
    code = """
for _ in range(2):
    delivered()
    assert sidecars() == ["Z"], sidecars()
    time.sleep(1.1)  # a writer that saw one alive does not look again for a second
"""
    done = alone(home, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(collector.events()) == 2


@pytest.mark.parametrize("apart", [False, True], ids=["same-session", "session-of-its-own"])
def test_children_of_the_training_are_its_own(home, collector, apart):
    """A child of the training is not reaped because another container wrote its number down."""
    homes.configure(home, collector.url, idle_exit_s=0.2)
    code = f"""
child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], start_new_session={apart})
wait_until(lambda: fields(child.pid)[0] == "Z")
emit()
path = {str(homes.host(home) / "sidecar.json")!r}
wait_until(lambda: os.path.exists(path) and json.loads(open(path).read())["ended"])
text = json.loads(open(path).read())
with open(path, "w") as state:
    json.dump({{**text, "pid": child.pid}}, state)
time.sleep(1.1)
emit()
assert child.wait() == 7
"""
    done = alone(home, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_nobody_reaps_there_are_two_zombies_at_most(home, collector):
    homes.configure(home, collector.url, idle_exit_s=0.2)
    training = """
delivered()
time.sleep(1.1)
emit()
wait_until(lambda: sidecars() == ["Z", "Z"])
os.utime(LOCK, (1, 1))  # they were started long ago
for _ in range(2):
    time.sleep(1.1)
    emit()
assert sidecars() == ["Z", "Z"], sidecars()
""".replace("LOCK", repr(str(homes.host(home) / "sidecar.lock")))
    first = f"""
child = subprocess.Popen([sys.executable, "-c", {TOOLS + training!r}])
wait_until(lambda: fields(child.pid)[0] == "Z")
sys.exit(child.wait())
"""
    done = alone(home, first)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--init") == 1, done.stderr
    assert len(homes.spooled(home)) == 2
    processes.deliver(home)
    assert wire.bag(collector.events()).total() == 4
