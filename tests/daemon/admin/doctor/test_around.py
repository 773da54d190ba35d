"""systemd, batch systems and containers, as the doctor sees them: real programs, of our own making."""

import json
import os
import sys

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.doctor import Verdict, around
from tests.support import homes, hosts, processes


def program(directory, name, answer, status=0):
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    path.chmod(0o755)


def systemd(directory):
    return {check.name: check for check in around.systemd({"PATH": str(directory)})}


def test_without_systemd_or_a_batch_job_a_sidecar_is_started_on_demand(tmp_path):
    assert systemd(tmp_path)["systemd"].verdict is Verdict.SKIPPED
    assert around.batch_system({"SLURM_JOB_ID": "7"}).verdict is Verdict.NOTE
    assert around.batch_system({"PATH": str(tmp_path)}).found == "none"
    program(tmp_path, "sbatch", "")
    found = around.batch_system({"PATH": str(tmp_path)})
    assert found.verdict is Verdict.OK
    assert "Slurm" in found.found


@pytest.mark.parametrize(("state", "status"), [("offline", 1), ("", 1), ("unknown", 4)])
def test_a_user_without_an_instance(tmp_path, state, status):
    program(tmp_path, "systemctl", state, status)
    ((name, found),) = systemd(tmp_path).items()
    assert (name, found.verdict, found.advice != "") == ("systemd", Verdict.NOTE, True)


@pytest.mark.parametrize(
    ("linger", "verdict"), [("yes", Verdict.OK), ("no", Verdict.NOTE), ("", Verdict.NOTE)]
)
def test_whether_a_service_outlives_a_session(tmp_path, linger, verdict):
    program(tmp_path, "systemctl", "degraded", 1)
    program(tmp_path, "loginctl", linger)
    found = systemd(tmp_path)
    assert (found["systemd"].verdict, found["linger"].verdict) == (Verdict.OK, verdict)
    assert ("loginctl enable-linger" in found["linger"].advice) is (verdict is Verdict.NOTE)


def in_a_container(home, *, inside=(), env=None):
    doctor = [sys.executable, "-m", "flwr_telemetryd.cli", "doctor", "--json"]
    told = processes.program(home, hosts.container([*inside, *doctor]), env)
    (check,) = [one for one in json.loads(told.stdout)["checks"] if one["name"] == "container"]
    return check


def test_a_home_that_ends_with_its_container(home, tmp_path):
    homes.configure(home, (tmp_path / "out.jsonl").as_uri(), goodbye_s=7.5)
    found = in_a_container(home)
    assert found["verdict"] == "note"
    assert "a new source, and its exit waits at most 7.5 s" in found["found"]
    assert f"mount a volume at {home}" in found["advice"]
    assert "goodbye_s" in found["advice"]
    assert "its exit does not wait" in in_a_container(home, env=processes.NEVER)["found"]


def test_a_home_in_memory(home):
    mount = ["sh", "-c", f'mount -t tmpfs none {home.parent} && exec "$@"', "sh"]
    found = in_a_container(home, inside=["unshare", "--mount", *mount])
    assert found["verdict"] == "note"
    assert "in memory" in found["found"]
    assert "volume" in found["advice"]


def test_a_home_on_a_volume_and_one_without_a_container(home, monkeypatch):
    first = os.readlink("/proc/self/ns/pid") == around._FIRST_PID_NAMESPACE
    assert not first or around.container(Home(home), settings.load(Home(home), {}), {}).found == "none"
    monkeypatch.setattr(around, "_FIRST_PID_NAMESPACE", "another")
    monkeypatch.setattr(around, "_SYSTEMS", ("none of these",))
    monkeypatch.setattr(around, "file_system", lambda _: "ext4")
    monkeypatch.setattr(around.goodbye, "is_ephemeral", lambda _: False)
    found = around.container(Home(home), settings.load(Home(home), {}), {})
    assert (found.verdict, found.advice) == (Verdict.OK, "")
    assert "volume" in found.found
