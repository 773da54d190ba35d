"""A process that is stopped (SIGSTOP) while it holds a lock, or amid a request, blocks no other."""

import select
import signal
import subprocess

import psutil
import pytest

from tests.support import homes, processes, wire
from tests.support.collector import Answer
from tests.support.kills import ONCE

BUSY = 4

# stop(holder, name): the next call of this name (whose first argument ends in a word) stops the process,
# before or after it is done.
STOP = """
import os, signal

def stop(holder, name, ends="", *, after):
    real = getattr(holder, name)

    def stopping(first, *others, **options):
        if ends and not str(first).endswith(ends):
            return real(first, *others, **options)
        setattr(holder, name, real)
        if not after:
            os.kill(os.getpid(), signal.SIGSTOP)
        result = real(first, *others, **options)
        if after:
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    setattr(holder, name, stopping)
"""

# Under the shared lock; the first event has opened all that there is to open.
WRITER = """
import fcntl
assert outcome(event("PING", {{"n": 0}})) == "spooled"
stop({})
print(outcome(event("PING", {{"n": 1}})))
"""
UNDER_THE_SHARED_LOCK = {
    "after-the-lock": 'fcntl, "flock", after=True',
    "before-the-write": 'os, "write", after=False',
    "after-the-write": 'os, "write", after=True',
}
UNDER_THE_EXCLUSIVE_LOCK = {
    "before-the-rename": 'os, "rename", "events.msgpack", after=False',
    "after-the-rename": 'os, "rename", "events.msgpack", after=True',
    "before-the-unlink": 'os, "unlink", ".taken", after=False',
}
# Emits the number on each line that it reads.
OPEN_WRITER = """
for line in sys.stdin:
    print(outcome(event("PING", {"n": int(line)})), flush=True)
"""


def start(home, code):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return processes.start(home, ["-c", processes.PRELUDE + STOP + code], processes.NEVER, **pipes)


def is_stopped(process):
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def wait_until_stopped(process):
    processes.wait_until(lambda: is_stopped(process), what="a stopped process")


def go_on(process):
    """Let a stopped process go on to its end, and give what it says."""
    assert is_stopped(process)
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=processes.PATIENCE_S)
    return said


def another_is_turned_away(home):
    """Start another sidecar: it leaves the work to the one that holds the lock."""
    assert processes.run(home, ["-m", "flwr_telemetryd"]).returncode == BUSY


def settle(home, collector, numbers):
    processes.deliver(home)
    assert wire.serials(collector.events()) == numbers
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize("meanwhile", ["others-emit", "a-sidecar-delivers"])
@pytest.mark.parametrize("where", UNDER_THE_SHARED_LOCK)
def test_a_writer_stopped_under_the_lock(home, collector, where, meanwhile):
    """Others emit, and a sidecar delivers; its own event is delivered once, now or when it goes on."""
    victim = start(home, WRITER.format(UNDER_THE_SHARED_LOCK[where]))
    wait_until_stopped(victim)
    processes.spool_events(home, 2, start_at=10)
    if meanwhile == "a-sidecar-delivers":
        processes.deliver(home)
        assert {0, 10, 11} <= set(wire.serials(collector.events()))
    processes.spool_events(home, 1, start_at=12)
    assert go_on(victim) == "spooled\n"
    settle(home, collector, [0, 1, 10, 11, 12])


@pytest.mark.parametrize("moved", [False, True], ids=["this-host", "another-host"])
def test_what_a_stopped_writer_adds_to_a_delivered_segment_waits(home, collector, moved):
    """Flush waits for an event behind the mark of a segment in the outbox, and the event is adopted too."""
    homes.configure(home, collector.url, adopt_after_s=0)
    victim = start(home, WRITER.format(UNDER_THE_SHARED_LOCK["before-the-write"]))
    wait_until_stopped(victim)
    processes.deliver(home)
    assert go_on(victim) == "spooled\n"
    assert not processes.flush(home, 1, processes.NEVER)
    if moved:
        homes.host(home).rename(homes.host(home, "elsewhere"))
        processes.deliver(home)  # brings it back to the spool, and does not wait for another host
    settle(home, collector, [0, 1])


@pytest.mark.parametrize("where", UNDER_THE_EXCLUSIVE_LOCK)
def test_a_sidecar_stopped_under_the_lock(home, collector, where):
    """Writers emit, whether they have the segment open or not; another sidecar is turned away."""
    writer = start(home, OPEN_WRITER)

    def emit(number):
        print(number, file=writer.stdin, flush=True)
        assert select.select([writer.stdout], [], [], processes.PATIENCE_S)[0], "event() waits"
        assert writer.stdout.readline() == "spooled\n"

    emit(0)
    victim = start(home, f"stop({UNDER_THE_EXCLUSIVE_LOCK[where]})\n{ONCE}")
    wait_until_stopped(victim)
    emit(1)
    processes.spool_events(home, 2, start_at=10)
    another_is_turned_away(home)
    emit(2)
    assert wire.serials(collector.events()) == []
    go_on(victim)
    assert victim.returncode == 0
    emit(3)
    writer.communicate()
    settle(home, collector, [0, 1, 2, 3, 10, 11])


@pytest.mark.parametrize(
    "reply", [200, 503, Answer(manner="close", took=True)], ids=["taken", "not-taken", "taken-unanswered"]
)
def test_a_sidecar_stopped_amid_a_request(home, collector, reply):
    """Writers emit, and what was under way is delivered once, whatever the answer that waits for it."""
    processes.spool_events(home, 3)
    victim = start(home, ONCE)

    def stop_it(_request):
        victim.send_signal(signal.SIGSTOP)
        wait_until_stopped(victim)
        collector.answer_by(lambda _request: 200)
        return reply

    collector.answer_by(stop_it)
    wait_until_stopped(victim)
    processes.spool_events(home, 2, start_at=10)
    another_is_turned_away(home)
    go_on(victim)
    assert victim.returncode in (0, 1)
    settle(home, collector, [0, 1, 2, 10, 11])
