"""A home on a file server that does not answer: a training goes on, and its events are written later.

The server is a process that is stopped: whatever asks it waits, as on NFS with a hard mount. No time is
asserted. It is enough that something ends while the server is away for ever, because it cannot have waited.
"""

import signal

import pytest

from tests.support import homes, netfs, processes, records, wire
from tests.support.netfs import Traits
from tests.support.processes import NEVER

pytestmark = pytest.mark.skipif(bool(netfs.missing()), reason=netfs.missing())

SERVER = """
import signal, threading, time
def away():
    os.kill(int(os.environ["SERVER"]), signal.SIGSTOP)
    until(lambda: open(f"/proc/{os.environ['SERVER']}/stat").read().split()[2] == "T")

def back():
    os.kill(int(os.environ["SERVER"]), signal.SIGCONT)

def ping(n):
    told = event("PING", {"n": n})
    error = str(told.exception() or "")
    return "in memory" if error.startswith("in memory; the file server") else error or told.result()

def until(condition):
    for _ in range(4000):
        if condition():
            return
        time.sleep(0.005)
    raise SystemExit("not within 20 s")

def written():
    until(lambda: threading.active_count() == 1)
"""


@pytest.fixture
def away(home, tmp_path):
    """Give a function that runs a workload, which can stop the server; it gives what was printed."""
    homes.configure(home, "http://127.0.0.1:9/")
    with netfs.served(home, tmp_path / "mount", Traits()) as server:

        def run(code, env=None, *, signalled=0):
            words = ["-W", "ignore", "-c", processes.PRELUDE + SERVER + code]
            done = processes.run(tmp_path / "mount", words, {**NEVER, "SERVER": str(server), **(env or {})})
            assert done.returncode == -signalled, done.stderr
            run.said = done.stderr
            return done.stdout.split("\n")[:-1]

        yield run


def numbers(home):
    return [event["event_details"]["n"] for event in homes.spooled(home)]


def test_events_wait_in_memory_until_the_server_is_back(home, away):
    """In their order, with their own dates; no thread is left; and the next event is written at once."""
    code = """
ping(0); written(); away()
print([ping(n) for n in range(1, 4)], threading.active_count())
time.sleep(2.1)
print(ping(4))
us = time.time_ns() // 1000
back(); written()
print(us)
ping(5); written()
"""
    told, again, back_us = away(code)
    assert (told, again) == (f"{['in memory'] * 3} 2", "in memory")
    assert numbers(home) == list(range(6))
    dates = [event["context"]["date"] for event in homes.spooled(home)]
    assert dates == sorted(dates)
    assert dates[4] < int(back_us) < dates[5]
    assert away.said.count("in memory") == 1


@pytest.mark.parametrize("name", ["FLWR_HOME", "HOME"])
def test_a_process_that_starts_meanwhile(home, away, name):
    """Not even the source ID is known yet. The user's names in an event are found without the server."""
    code = "away(); print(ping(0), flush(0.1)); back(); written()"
    link = home.parents[1] / "link"
    link.symlink_to("mount")
    env = {"HOME": str(link), "FLWR_HOME": None} if name == "HOME" else {}
    assert away(code, env) == ["in memory False"]
    assert numbers(home / ".flwr" if name == "HOME" else home) == [0]


def test_the_polls_of_an_event_are_counted(home, away):
    """A clock that stands still does not prolong the wait; after some waits in vain there is none."""
    code = """
from flwr_telemetry.helper_thread import MAX_LATE
slept = []
real = time.sleep
ping(0); written(); away()
time.monotonic = lambda: 1.0
time.sleep = lambda seconds: slept.append(seconds) or real(seconds)
print(ping(1), len(slept) < 200, round(sum(slept), 2))
for n in range(2, 1 + MAX_LATE): ping(n)
slept.clear()
print(ping(1 + MAX_LATE), len(slept))
time.sleep = real
back(); written()
"""
    assert away(code) == ["in memory True 0.04", "in memory 0"]
    assert numbers(home) == [*range(7)]


def test_what_does_not_fit_into_memory_is_counted(home, away):
    code = """
ping(0); written(); away()
told = [ping(n) for n in range(1, 1004)]
print(set(told[:1000]), set(told[1000:]))
back(); written()
"""
    assert "dropped, because 1000 events wait" in away(code)[0].partition("} {")[2]
    assert numbers(home) == list(range(1001))
    assert (homes.host(home) / "dropped").read_bytes() == b"\0" * 3


def test_a_child_has_no_part_in_what_waits(home, away):
    code = """
ping(0); written(); away()
print(ping(1), flush=True)
child = os.fork()
if child == 0:
    print(ping(2), threading.active_count(), flush=True)
    raise SystemExit
os.waitpid(child, 0); back(); written()
"""
    assert away(code) == ["in memory", "in memory 2"]
    assert numbers(home) == [0, 1]
    assert "1 events are lost" in away.said


def test_an_event_in_a_handler_that_interrupts_an_event(home, away):
    code = """
told = []
ping(0); written(); away()
signal.signal(signal.SIGALRM, lambda *_: told.append(ping(2)))
signal.setitimer(signal.ITIMER_REAL, 0.01)
told.append(ping(1))
until(lambda: len(told) == 2)
print(told)
back(); written()
"""
    assert away(code) == [str(["in memory"] * 2)]
    assert sorted(numbers(home)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["FLWR_TELEMETRY_ENABLED", "DO_NOT_TRACK"])
def test_an_opt_out_by_a_variable_starts_nothing(home, away, name):
    """A payload is shown all the same, without the server."""
    before = homes.contents(home)
    code = "away(); print(ping(7), flush(1), threading.active_count())"
    env = {name: "0" if "ENABLED" in name else "1", "FLWR_TELEMETRY_LOGGING": "1"}
    assert away(code, env) == ["disabled False 1"]
    (line,) = [line for line in away.said.splitlines() if " - POST - " in line]
    assert '"n": 7' in line
    assert "lost" not in away.said
    assert homes.contents(home) == before


def test_a_flush_waits_for_a_server_that_comes_back(home, away):
    """The process ends right after it, without a wait of its own."""
    code = "away(); ping(0); threading.Timer(0.5, back).start(); flush(60); back(); os._exit(0)"
    away(code)
    assert numbers(home) == [0]


def test_an_opt_out_while_events_wait(home, away):
    """Nothing that waits is written any more."""
    code = """
ping(0); written(); away()
ping(1)
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
print(ping(2))
time.sleep(0.1)
back(); written()
"""
    assert away(code) == ["disabled"]
    assert numbers(home) == [0]


@pytest.mark.parametrize("before", ["ping(0); written(); away()", "away()"], ids=["later", "first"])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("import atexit; atexit.register(lambda: print(ping(2)))", 0),
        ("os.kill(os.getpid(), signal.SIGINT)", signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGTERM)", signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", signal.SIGKILL),
    ],
    ids=["normal", "atexit", "int", "term", "kill"],
)
def test_a_process_ends_although_the_server_is_away(away, before, end, code):
    told = away(f"{before}\nprint(ping(1), flush=True)\n{end}", signalled=code)
    assert told == ["in memory"] * (2 if "atexit" in end else 1)
    lost = f"{len(told)} events are lost, because the file server" in away.said
    assert lost is (code in {0, signal.SIGINT})


def test_the_end_waits_a_moment_for_a_slow_server(home, away):
    code = """
from flwr_telemetry import shared_home
shared_home.END_WAIT_S = 20.0  # this machine may be busy
ping(0); written(); away()
ping(1)
threading.Timer(0.1, back).start()
"""
    away(code)
    assert numbers(home) == [0, 1]
    assert "lost" not in away.said


def test_a_child_of_multiprocessing_waits_too(home, away):
    """It ends without `atexit`."""
    code = """
import multiprocessing
from flwr_telemetry import shared_home
shared_home.END_WAIT_S = 20.0  # this machine may be busy
def work():
    away(); ping(1)
    os.system(f"(sleep 0.1; kill -CONT {os.environ['SERVER']}) &")

child = multiprocessing.get_context("fork").Process(target=work)
child.start(); child.join()
"""
    away(code)
    assert numbers(home) == [1]
    away(code.replace("-CONT", "-0"))
    assert numbers(home) == [1]
    assert "1 events are lost" in away.said


def test_a_process_that_can_start_no_thread(home, away):
    code = """
def refuse(*_):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
print(ping(0), ping(1), flush(0.1))
"""
    assert away(code) == ["spooled spooled False"]
    assert numbers(home) == [0, 1]


def test_no_thread_is_left_behind(home, away):
    """Nor by an event that is reported at the very end, when Python starts no more threads."""
    code = """
import atexit
atexit.register(lambda: print(ping(2)))
ping(0); written()  # a first event takes longer, and this machine may be busy
print(ping(1), threading.active_count())
"""
    assert away(code) == ["spooled 1", "spooled"]
    assert numbers(home) == [0, 1, 2]


def test_a_helper_that_ends_when_the_next_event_comes(home, away):
    """Threads report at the same moment, again and again; none waits for a helper that has just gone."""
    code = """
def report(first):
    for n in range(first, first + 25):
        told.append(ping(n))

told = []
threads = [threading.Thread(target=report, args=(at,)) for at in range(0, 100, 25)]
for thread in threads: thread.start()
for thread in threads: thread.join()
written()
print(len(told), set(told) <= {"spooled", "in memory"})
"""
    assert away(code) == ["100 True"]
    assert sorted(numbers(home)) == list(range(100))


def test_an_answer_that_the_server_never_gives(home, away):
    """On a soft mount the system gives up. The event stays in memory, and is not written twice."""
    code = """
import errno
ping(0); written()
real = os.rename
def give_up(*paths):
    os.rename = real
    real(*paths)  # it is done, and nobody hears of it
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
os.rename = give_up
print(ping(1)); written()
ping(2); written()
"""
    assert away(code) == ["in memory"]
    assert numbers(home) == [0, 1, 2]


def test_a_full_queue_is_written_when_the_server_is_back(home, away):
    """Although the helper had given up before, and no event fits into memory."""
    code = """
import errno
from flwr_telemetry import shared_home
shared_home.MAX_WAITING = 1
ping(0); written()
real = os.rename
def give_up(*_):
    raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
os.rename = give_up
for n in range(1, 4):
    print(ping(n).partition(" ")[0]); written()
os.rename = real
print(ping(4).partition(" ")[0]); written()
ping(5); written()
"""
    assert away(code) == ["in", "dropped,", "dropped,", "dropped,"]
    assert numbers(home) == [0, 1, 5]
    assert (homes.host(home) / "dropped").read_bytes() == b"\0" * 3


def test_a_directory_that_another_machine_has_taken_meanwhile(home, away):
    """The spool was removed, and a machine of the same name was first to make it again."""
    code = """
import shutil
from flwr_telemetry import worker
ping(0); written()
shutil.rmtree(os.path.join(os.environ["FLWR_HOME"], "telemetry", os.uname().nodename))
worker.own_host = lambda home, _: home.host("mine-2")
ping(1); written(); ping(2); written()
"""
    away(code)
    found = homes.find(home, "*/*/spool/*")
    assert {path.parts[-3] for path in found} == {"mine-2"}
    assert wire.serials(event for path in found for event in records.decode(path.read_bytes())) == [1, 2]


def test_settings_that_the_server_never_gives(home, away):
    """On a soft mount they cannot be read. That says nothing about consent, so the event stays in memory."""
    code = """
import errno
ping(0); written()
real = os.open, os.rename
def give_up(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))
def rename(*paths):
    real[1](*paths)
    os.open, os.rename = give_up, real[1]
    give_up()
os.rename = rename
print(ping(1)); written(); time.sleep(1.1)
print(ping(2)); written()
os.open = real[0]
ping(3); written()
"""
    assert away(code) == ["in memory"] * 2
    assert numbers(home) == [0, 1, 2, 3]


def test_the_payload_is_shown_although_it_cannot_be_written(away):
    away("away(); ping(7); back(); written()", {"FLWR_TELEMETRY_LOGGING": "1"})
    (line,) = [line for line in away.said.splitlines() if " - POST - " in line]
    assert '"n": 7' in line
    assert '"source": "unavailable"' in line
