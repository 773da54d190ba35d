"""The processes of a machine take turns at the spool of a shared home."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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


def _waits(directory):
    """Whether somebody waits for the end of a turn: the name then belongs to two sockets."""
    return Path("/proc/net/unix").read_text().count(Turn(str(directory))._name.replace("\0", "@")) > 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stopped_process_does_not_keep_its_turn(holder, tmp_path, end):
    """Nobody waits for it in another directory, or on a home that is not shared."""
    assert _take(tmp_path / "other")
    with Turn(str(tmp_path), is_shared=False):
        assert not _waits(tmp_path)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(_take, tmp_path)
        processes.wait_until(lambda: _waits(tmp_path))
        assert not waiting.done()
        holder.send_signal(end)
        assert waiting.result(processes.PATIENCE_S)


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
