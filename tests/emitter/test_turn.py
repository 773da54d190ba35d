"""The processes of a machine take turns at the spool of a shared home."""

import os
import signal
import subprocess
import sys

import pytest

from flwr_telemetry import turn

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


def _pauses(monkeypatch, act):
    """Count the pauses of a waiting process, and act at the third one."""
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            act()

    monkeypatch.setattr(turn.time, "sleep", pause)
    return pauses


def test_a_turn_ends_with_its_process(holder, tmp_path, monkeypatch):
    def kill():
        holder.kill()
        holder.wait()

    pauses = _pauses(monkeypatch, kill)
    with turn.Turn(str(tmp_path)):
        assert len(pauses) == 3


def test_another_directory_has_its_own_turns(holder, tmp_path, monkeypatch):
    pauses = _pauses(monkeypatch, holder.kill)
    with turn.Turn(str(tmp_path / "other")):
        assert not pauses


def test_a_stopped_process_does_not_keep_its_turn(holder, tmp_path, monkeypatch):
    def stop():
        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)

    pauses = _pauses(monkeypatch, stop)
    with turn.Turn(str(tmp_path)):
        assert len(pauses) == turn._LOOK_EVERY - 1


def test_a_forked_child_gives_the_turn_back(tmp_path, monkeypatch):
    own = turn.Turn(str(tmp_path))
    own.__enter__()
    read, write = os.pipe()
    if not (pid := os.fork()):
        own.end()
        os.write(write, b"x")
        signal.pause()
    assert os.read(read, 1)
    own.end()
    pauses = _pauses(monkeypatch, lambda: os.kill(pid, signal.SIGKILL))
    with turn.Turn(str(tmp_path)):
        assert not pauses
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
