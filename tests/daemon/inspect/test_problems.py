"""Problems of a home, and how to change its consent: the sentences of the status."""

import os
import signal
import subprocess
import uuid
from unittest import mock

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.doctor import Verdict, here
from flwr_telemetryd.inspect import status
from flwr_telemetryd.outbox import forgotten
from tests.support import homes, processes, records


def _read(home, environ=None):
    return status.read_status(Home(home), environ or {})


def test_a_home_that_is_a_file_and_a_source_that_is_no_uuid_are_problems(home):
    home.write_text("")
    (problem,) = _read(home).problems
    assert problem.startswith(f"{home} is no directory")
    home.unlink()
    home.mkdir()
    (home / "source").write_text("me\n")
    view = _read(home)
    assert (view.source, "holds no UUID" in view.problems[0]) == ("invalid", True)


def test_what_may_not_be_read_or_written_is_a_problem(home, monkeypatch):
    homes.put(home, records.series(1))
    telemetry = homes.telemetry(home)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != telemetry)
    denied = f"{telemetry}: Permission denied; no permission; set FLWR_HOME to a directory of your own"
    assert (_read(home).hosts, _read(home).problems) == ([], [denied])
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)
    view = _read(home)
    assert view.problems == [
        f"{homes.spool(home)} cannot be written to; set FLWR_HOME to a writable directory"
    ]
    assert view.hosts[0].spool.events == 1
    assert _read(home, {"DO_NOT_TRACK": "1"}).problems == []


@pytest.mark.skipif(not processes.IS_ROOT, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_a_problem(home):
    homes.put(home, records.series(1))
    os.chown(homes.telemetry(home), 12345, 12345)
    view = _read(home)
    assert (view.hosts, "belongs to another user" in view.problems[0]) == ([], True)


def test_a_spool_at_its_cap_is_a_problem(home):
    homes.configure(home, spool_max_mib=0.001)
    homes.put(home, records.series(3))
    (problem,) = _read(home).problems
    assert "flwr-telemetry flush" in problem


def test_a_source_that_was_forgotten_is_a_problem(home, monkeypatch):
    """A restored backup may bring it back; events that carry it are deleted."""
    source = str(uuid.uuid4())
    homes.put(home, records.series(1))
    (home / "source").write_text(source)
    assert _read(home).problems == []
    forgotten.add(Home(home), source)
    (problem,) = _read(home).problems
    assert "was forgotten" in problem

    monkeypatch.setattr(forgotten, "hashes", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    (problem,) = _read(home).problems
    assert str(Home(home).forgotten) in problem


@pytest.mark.parametrize(
    ("environ", "decided_by", "change"),
    [
        ({"FLWR_TELEMETRY_ENABLED": "0"}, "FLWR_TELEMETRY_ENABLED", "unset FLWR_TELEMETRY_ENABLED"),
        ({"DO_NOT_TRACK": "1"}, "DO_NOT_TRACK", "unset DO_NOT_TRACK"),
        ({"DO_NOT_TRACK": "1", "FLWR_TELEMETRY_ENABLED": "1"}, "FLWR_TELEMETRY_ENABLED", "switch it off"),
        ({}, "default", "switch it off"),
    ],
)
def test_what_decides_is_told_with_what_would_change_it(home, environ, decided_by, change):
    view = _read(home, environ)
    assert view.decided_by == decided_by
    assert change in view.change


LOCK = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
if (child := os.fork()) == 0:
    print("held", flush=True)
    sys.stdin.read()
elif sys.argv[2] == "here":
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("parent", ["here", "gone"])
def test_a_program_that_holds_the_sidecar_s_lock(home, parent):
    """Every event finds that a sidecar lives, and none ever starts; a child may have inherited the lock."""
    homes.put(home, records.series(1))
    lock = homes.host(home) / "sidecar.lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with processes.start(home, ["-c", LOCK, str(lock), parent], **pipes) as holder:
        holder.stdout.readline()
        if parent == "gone":
            holder.wait()
        (problem,) = _read(home).problems
        check = here.sidecar(Home(home), settings.load(Home(home), {}), {})
        holder.stdin.close()
    named = f"process {holder.pid})" if parent == "here" else f"find it by `lsof {lock}`"
    assert str(lock) in problem
    assert named in problem
    assert (check.verdict, f"{check.found}; {check.advice}") == (Verdict.FAULT, problem)


def test_a_sidecar_that_is_stopped(home):
    homes.configure(home, "http://127.0.0.1:9/x", idle_exit_s=600)
    processes.emit(home)
    pid = processes.running_sidecar(home)
    os.kill(pid, signal.SIGSTOP)
    processes.wait_until(lambda: _read(home).problems)
    assert f"kill -CONT {pid}" in _read(home).problems[0]
    os.kill(pid, signal.SIGCONT)
    processes.wait_until(lambda: not _read(home).problems)


def test_a_source_that_is_a_link_to_nowhere(home):
    homes.configure(home)
    (home / "source").symlink_to(home / "not-mounted")
    (problem,) = _read(home).problems
    assert problem == f"{home}/source cannot be read; remove it, and the next event makes a new one"
