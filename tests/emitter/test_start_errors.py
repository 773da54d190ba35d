"""The trace of sidecars that die before they have a log, and where people see it."""

import json
import os
import sys
from pathlib import Path

import pytest

from flwr_telemetry import package_files, start_errors
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.doctor import here
from tests.support import homes, processes

PACKAGE = "flwr_telemetryd"
BROKEN = "print('a' * 10_000)\nraise ImportError(f'{__name__} needs another Python')\n"
EMIT = """
import time
from pathlib import Path
from flwr_telemetry import start_errors
from flwr_telemetry.layout import Home
host = Home(Path(os.environ["FLWR_HOME"])).host()
for number in range(4):
    print(outcome(event("PING")), flush=True)
    end = time.monotonic() + 50
    while start_errors.read(host).starts < min(number + 1, 3) or not start_errors.read(host).last_line:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.05)  # a process looks for a sidecar once a second
"""


@pytest.fixture
def broken(tmp_path):
    """Give the directories of all packages, one of which is broken for a sidecar alone."""
    (tmp_path / "broken" / PACKAGE).mkdir(parents=True)
    (tmp_path / "broken" / PACKAGE / "__init__.py").write_text(BROKEN)
    found = dict.fromkeys(str(Path(file).parents[1]) for file in package_files.find().values())
    return [str(tmp_path / "broken"), *found]


def test_a_sidecar_that_never_lives_leaves_a_trace(home, collector, broken):
    """Three starts, one warning, no fourth start soon; `status` and `doctor` tell the last words.

    Once a sidecar lives, the trace is gone.
    """
    homes.configure(home, "http://127.0.0.1:9/")
    done = processes.run(home, ["-c", f"import sys; sys.path[:0] = {broken!r}\n{processes.PRELUDE}{EMIT}"])
    assert done.stdout == "spooled\n" * 4, done.stderr
    said = f"never lived: ImportError: {PACKAGE} needs another Python"
    assert done.stderr.count(said) == 1
    found = start_errors.read(Home(home).host())
    assert found.starts == 3
    (problem,) = json.loads(processes.command(home, "status", "--json").stdout)["problems"]
    assert f"a sidecar was started 3 times since {found.since}, and {said}" in problem
    doctor = processes.command(home, "doctor", "--json")
    (check,) = [check for check in json.loads(doctor.stdout)["checks"] if check["name"] == "sidecar"]
    assert (check["verdict"], said in check["found"]) == ("fault", True)
    assert (homes.host(home) / "start-errors.log").stat().st_size < 20_000
    homes.configure(home, collector.url)
    processes.deliver(home)
    assert len(collector.events()) == 4
    assert start_errors.read(Home(home).host()) is None
    assert json.loads(processes.command(home, "status", "--json").stdout)["problems"] == []


def test_the_doctor_tries_a_start_before_any_event(home, broken, monkeypatch):
    """In an environment like the training's it says what a sidecar would say."""
    (home / "telemetry").mkdir(parents=True)
    assert here._no_start(Home(home), os.environ) == ""
    found = {**package_files.find(), "flwr_telemetryd": f"{broken[0]}/flwr_telemetryd/__init__.py"}
    monkeypatch.setattr(package_files, "find", lambda: found)
    assert "does not live: ImportError: flwr_telemetryd needs" in here._no_start(Home(home), os.environ)
    monkeypatch.setattr(sys, "executable", None)
    assert here._no_start(Home(home), os.environ) == ""


def test_what_cannot_be_read_is_no_trace(host):
    """Nor does a file that cannot be written prevent a start."""
    host.root.mkdir(parents=True, mode=0o700)
    assert start_errors.read(host) is None
    words = b"flwr-telemetryd: many starts since today without a life\n"
    for damaged in (b"", b"\xff\xff\n", words, b"\0" * 5000):
        host.start_errors.write_bytes(damaged)
        assert start_errors.read(host) is None
    host.start_errors.unlink()
    host.start_errors.mkdir()
    assert start_errors.begin(host) is None
    start_errors.refuse(host, "a reason")
    start_errors.clear(host)
    assert host.start_errors.is_dir()


def test_a_reason_is_noted_once_and_never_hides_a_start(host):
    host.root.mkdir(parents=True, mode=0o700)
    start_errors.refuse(host, "frozen")
    first = host.start_errors.read_bytes()
    start_errors.refuse(host, "frozen")
    assert host.start_errors.read_bytes() == first
    assert str(start_errors.read(host)).endswith(": frozen")
    descriptor = start_errors.begin(host)
    os.write(descriptor, b"\x1b[31m said \xff\n\n")
    os.close(descriptor)
    start_errors.refuse(host, "frozen")
    found = start_errors.read(host)
    assert (found.starts, found.last_line) == (1, "[31m said \ufffd")
    assert "started once since" in str(start_errors.read(host))
