"""What people are told on Windows: lines for its own shells and for its own scheduler."""

import json

import pytest

from tests.support import processes
from tests.support.commands import ran


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


def test_disable_names_the_lines_of_both_shells(home):
    told = " ".join(ran(home, "disable").stdout.split())
    assert "`set FLWR_TELEMETRY_ENABLED=0` (PowerShell: `$env:FLWR_TELEMETRY_ENABLED=0`) stops that" in told
    assert "`setx FLWR_TELEMETRY_ENABLED 0`" in told
    assert "export" not in told


def test_service_names_a_line_for_the_task_scheduler(home):
    told = " ".join(ran(home, "service", "install", code=2).stderr.split())
    assert "schtasks /Create /TN flwr-telemetry /SC MINUTE /MO 15 /TR \"'" in told
    assert "pythonw.exe' -P -m flwr_telemetryd --once\"" in told


def test_doctor_names_the_task_scheduler(home):
    done = processes.command(home, "doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["systemd"]["verdict"] == "skipped"
    assert "Task Scheduler" in found["systemd"]["found"]
