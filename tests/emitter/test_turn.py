"""The processes of a machine take turns at the spool of a shared home."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flwr_telemetry.turn import Turn
from tests.support import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")

_HOLDER = """\
import sys
from flwr_telemetry.turn import Turn
with Turn(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    words = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "mine\n"
        yield process
        process.kill()


def _take(directory):
    with Turn(str(directory)):
        return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stopped_process_does_not_keep_its_turn(holder, tmp_path, end):
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(_take, tmp_path)
        processes.wait_until(lambda: _waits(tmp_path))
        assert not waiting.done()
        holder.send_signal(end)
        assert waiting.result(processes.PATIENCE_S)


def _waits(directory):
    """Whether somebody waits for the end of a turn: the name then belongs to two sockets."""
    name = Turn(str(directory))._name.replace("\0", "@")
    with open("/proc/net/unix", encoding="utf-8") as sockets:
        return sockets.read().count(name) > 1


def test_another_directory_has_its_own_turns(holder, tmp_path):
    assert _take(tmp_path / "other")


def test_nobody_waits_on_a_home_that_is_not_shared(holder, tmp_path):
    with Turn(str(tmp_path), is_shared=False):
        assert not _waits(tmp_path)


def test_many_threads_have_one_turn_at_a_time(tmp_path):
    inside, most = threading.Semaphore(1), []

    def work(_):
        with Turn(str(tmp_path)):
            most.append(inside.acquire(blocking=False))
            inside.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert all(most)


def test_a_forked_child_gives_the_turn_back(tmp_path):
    own = Turn(str(tmp_path))
    own.begin()
    read, write = os.pipe()
    if not (pid := os.fork()):
        own.end()
        os.write(write, b"x")
        signal.pause()
    assert os.read(read, 1)
    own.end()
    assert _take(tmp_path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
