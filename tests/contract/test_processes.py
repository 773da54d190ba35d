"""Section 3 and promise 1: threads, forks, signals, exits, and nothing left behind in a workload."""

import multiprocessing
import os
import subprocess
from collections import Counter

import psutil
import pytest

from tests.support import homes, processes
from tests.support.processes import NEVER, answers, workload


def _clusters(home):
    return [event["context"]["cluster"] for event in homes.spooled(home)]


def test_threads_share_a_cluster_and_lose_nothing(home):
    code = """
from threading import Barrier, Thread
sys.setswitchinterval(0.00001)
barrier, told = Barrier(8), []
def work(k):
    barrier.wait()
    told.extend(outcome(event("PING", {"n": 100 * k + i})) for i in range(100))
threads = [Thread(target=work, args=(k,)) for k in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert told == ["spooled"] * 800
"""
    workload(home, code, NEVER)
    events = homes.spooled(home)
    assert sorted(event["event_details"]["n"] for event in events) == list(range(800))
    assert len(set(_clusters(home))) == 1
    assert len({event["context"]["date"] for event in events}) == 800


def test_a_fork_amid_the_events_of_other_threads_does_not_hang(home):
    code = """
import threading
assert outcome(event("PING")) == "spooled"
stop = threading.Event()
def work():
    while not stop.is_set():
        event("PING", {"of": "thread"})
thread = threading.Thread(target=work)
thread.start()
codes = []
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if outcome(event("PING", {"of": "child"})) == "spooled" else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop.set()
thread.join()
assert codes == [0] * 30, codes
"""
    workload(home, code, NEVER)
    assert Counter(event["event_details"].get("of") for event in homes.spooled(home))["child"] == 30


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing_works_with_every_start_method(home, method):
    """Children of multiprocessing emit; forked ones are the same workload, spawned ones their own."""
    code = f"""
import multiprocessing
assert outcome(event("PING")) == "spooled"
context = multiprocessing.get_context({method!r})
children = [context.Process(target=event, args=("PING", {{"n": n}})) for n in range(2)]
for child in children: child.start()
for child in children: child.join()
assert [child.exitcode for child in children] == [0, 0]
"""
    workload(home, code, NEVER)
    assert len(homes.spooled(home)) == 3
    assert len(set(_clusters(home))) == (1 if method == "fork" else 3)


def test_exit_handlers_may_emit(home):
    code = "import atexit\natexit.register(lambda: print(outcome(event('PING'))))\n"
    assert workload(home, code, NEVER).stdout == "spooled\n"
    assert workload(home, code + "event('PING')", NEVER).stdout == "spooled\n"
    assert len(homes.spooled(home)) == 3


def test_events_stand_in_the_order_of_calls(home):
    """Their dates increase strictly, also when the clock goes backward."""
    code = """
import time
ticks = iter(range(10**6, 0, -1))
time.time_ns = lambda: 1_795_000_000_000_000_000 + next(ticks) * 1000
time.time = lambda: time.time_ns() / 1e9
for n in range(300):
    assert outcome(event("PING", {"n": n})) == "spooled"
"""
    workload(home, code, NEVER)
    events = homes.spooled(home)
    dates = [event["context"]["date"] for event in events]
    assert [event["event_details"]["n"] for event in events] == list(range(300))
    assert dates == sorted(set(dates))


_LOOK_AROUND = """
import threading
def descriptors():
    kinds = []
    for name in os.listdir("/proc/self/fd") if os.name != "nt" else []:
        try:
            kinds.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue
    return dict(kinds)
def child():
    try:
        return os.waitpid(-1, os.WNOHANG)
    except (ChildProcessError, AttributeError):  # the latter on Windows, where a process has no children
        return None
before = descriptors()
first = outcome(event("PING"))
after = descriptors()
new = {fd: kind for fd, kind in after.items() if fd not in before and not kind.startswith("/proc/")}
channels = [kind for kind in new.values() if kind.startswith(("pipe:", "socket:", "anon_inode:"))]
inheritable = [fd for fd in new if os.get_inheritable(fd)]
print(json.dumps([first, threading.active_count(), child(), channels, inheritable]))
"""


@pytest.mark.parametrize("sidecar", ["auto", "never"])
def test_event_leaves_nothing_in_the_process(home, collector, sidecar):
    """After an event, one that starts the sidecar too, there is no thread, child, pipe or heritage."""
    told = answers(home, _LOOK_AROUND, {"FLWR_TELEMETRY_SIDECAR": sidecar})
    assert told == ["spooled", 1, None, [], []]


def test_descriptors_do_not_pile_up(home):
    """Many events, with seals between them, leave no more descriptors open than one does."""
    code = f"""
import psutil
spool = {str(homes.spool(home))!r}
number_of_files = psutil.Process().num_handles if os.name == "nt" else psutil.Process().num_fds
assert outcome(event("PING")) == "spooled"
before = number_of_files()
for i in range(50):
    os.rename(spool + "/events.msgpack", spool + f"/sealed-17950000000000000{{i:02}}-0a1b2c3d.msgpack")
    assert outcome(event("PING")) == "spooled"
assert number_of_files() <= before
"""
    workload(home, code, NEVER)
    assert len(homes.spooled(home)) == 51


def test_a_dead_sidecar_is_no_zombie_of_the_workload(home, collector):
    homes.configure(home, collector.url, idle_exit_s=0.2)
    code = (
        "assert outcome(event('PING')) == 'spooled'\nprint(flush(timeout=50), flush=True)\nsys.stdin.read()\n"
    )
    child = processes.start(
        home, ["-c", processes.PRELUDE + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == "True\n"
        processes.wait_for_end(home)
        assert psutil.Process(child.pid).children(recursive=True) == []
    finally:
        child.communicate()


def test_a_caller_that_reads_to_the_end_does_not_wait_for_the_sidecar(home, collector):
    """The workload's pipes, inheritable ones too, are closed when it ends, while the sidecar lives on."""
    homes.configure(home, collector.url, idle_exit_s=600)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with os.fdopen(reader, "rb") as end:
        done = processes.run(
            home,
            ["-c", processes.PRELUDE + "print(outcome(event('PING')))"],
            close_fds=False,
            stdin=subprocess.DEVNULL,
        )
        os.close(writer)
        assert done.stdout == "spooled\n"
        assert end.read() == b""
    assert processes.sidecars(home)


def test_the_sidecar_is_wholly_detached(home, collector, tmp_path):
    """It has a session and a directory of its own, no terminal, and a lower priority than the workload."""
    for name in ("requests.py", "psutil.py"):
        (tmp_path / name).write_text("raise SystemExit('hijacked')\n")
    homes.configure(home, collector.url, idle_exit_s=600)
    workload(home, "event('PING')", cwd=tmp_path)
    pid = processes.running_sidecar(home)
    sidecar = psutil.Process(pid)
    assert sidecar.cwd() != str(tmp_path)
    if homes.WINDOWS:
        processes.wait_until(lambda: sidecar.nice() == psutil.IDLE_PRIORITY_CLASS, what="a lower priority")
    else:
        assert os.getsid(pid) != os.getsid(0)
        assert sidecar.terminal() is None
        processes.wait_until(lambda: sidecar.nice() >= 10, what="a lower priority")
    processes.wait_until(collector.events)


def test_a_python_without_flower_says_unknown(home, tmp_path):
    import importlib.util

    for name in ("flwr_telemetry", "msgpack", "filelock"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations
        homes.copy_tree(spec.submodule_search_locations[0], tmp_path / name)
    code = f"import sys\nsys.path.append({str(tmp_path)!r})\n"
    code += processes.PRELUDE + "print(outcome(event('PING')))"
    done = processes.run(home, ["-S", "-c", code], NEVER)
    assert done.stdout == "spooled\n", done.stderr
    assert homes.spooled(home)[0]["context"]["flower"]["package_version"] == "unknown"
