"""systemd and batch systems, as the doctor sees them: real programs, of our own making."""

import pytest

from flwr_telemetryd.admin.doctor import Verdict, around


def program(directory, name, answer, status=0):
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    path.chmod(0o755)


def systemd(directory):
    return {check.name: check for check in around.systemd({"PATH": str(directory)})}


def test_without_systemd_or_a_batch_job_a_sidecar_is_started_on_demand(tmp_path):
    """Nothing is started in a batch job; a batch system alone is no job."""
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
    found = systemd(tmp_path)
    assert list(found) == ["systemd"]
    assert found["systemd"].verdict is Verdict.NOTE
    assert found["systemd"].advice


@pytest.mark.parametrize(
    ("linger", "verdict"), [("yes", Verdict.OK), ("no", Verdict.NOTE), ("", Verdict.NOTE)]
)
def test_whether_a_service_outlives_a_session(tmp_path, linger, verdict):
    program(tmp_path, "systemctl", "degraded", 1)
    program(tmp_path, "loginctl", linger)
    found = systemd(tmp_path)
    assert (found["systemd"].verdict, found["linger"].verdict) == (Verdict.OK, verdict)
    assert ("loginctl enable-linger" in found["linger"].advice) is (verdict is Verdict.NOTE)
