"""The whole way of an event on a POSIX system that is not Linux, as far as Linux can show it.

`tests/support/elsewhere.py` says what this proves, and what it does not.
"""

import json
import os
import signal

import pytest

from tests.support import homes, launchctl, processes
from tests.support.elsewhere import PRELUDE

COMMAND = "from flwr_telemetryd.cli import main; main()"
SIDECAR = "from flwr_telemetryd.__main__ import main; sys.exit(main())"


def run(home, code, *words, env=None):
    """Run code elsewhere, and give the finished process."""
    return processes.run(home, ["-c", PRELUDE + code, *words], env)


def emit(home, count, env=None):
    code = f"for n in range({count}): print(outcome(event('PING', {{'n': n}})))"
    assert run(home, processes.PRELUDE + code, env=env).stdout == "spooled\n" * count


def test_events_are_delivered_by_a_sidecar_on_demand(home, collector):
    """By two processes, at once after a flush; and no trace of a Linux path is an error in the log."""
    homes.configure(home, collector.url, **{**homes.QUICK, "idle_exit_s": 30})
    emit(home, 3)
    emit(home, 2)
    processes.wait_until(lambda: len(collector.events()) == 5)
    state = json.loads((homes.host(home) / "sidecar.json").read_text())
    assert float(state["born"]) > 0  # of psutil, so the sidecar is elsewhere, too
    assert state["last_error"] == ""
    told = json.loads(run(home, COMMAND, "status", "--json").stdout)
    assert told["enabled"]
    assert "ERROR" not in (homes.host(home) / "sidecar.log").read_text()
    assert run(home, COMMAND, "flush").returncode == 0
    assert run(home, COMMAND, "disable").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_sidecar_loses_nothing_and_repeats_nothing(home, collector, number):
    homes.configure(home, collector.url, **{**homes.QUICK, "idle_exit_s": 30})
    collector.answer_by(lambda _: 503)
    emit(home, 3)
    processes.wait_until(lambda: collector.requests)
    os.kill(json.loads((homes.host(home) / "sidecar.json").read_text())["pid"], number)
    collector.answer_by(lambda _: 200)
    emit(home, 2)
    processes.wait_until(lambda: len(collector.events()) == 5)
    assert sorted(event["event_details"]["n"] for event in collector.events()) == [0, 0, 1, 1, 2]


def test_the_spool_of_another_host_is_adopted(home, collector):
    homes.configure(home, collector.url, **homes.QUICK, adopt_after_s=0)
    emit(home, 2, processes.NEVER)
    homes.host(home).rename(homes.host(home, "other"))
    emit(home, 1, processes.NEVER)
    done = run(home, f"import sys; {SIDECAR}", "--once")
    assert (done.returncode, len(collector.events())) == (0, 3)


def test_the_doctor_knows_its_way(home, collector, tmp_path, monkeypatch):
    homes.configure(home, collector.url)
    launchctl.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    emit(home, 1, processes.NEVER)
    done = run(home, COMMAND, "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert (checks["launchd"]["verdict"], "systemd" in checks) == ("ok", False)
    assert checks["container"]["verdict"] == "skipped"
    assert [name for name, check in checks.items() if check["verdict"] == "problem"] == []
