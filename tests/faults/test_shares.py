"""Homes on shares that show one mode for everything, and ignore or refuse a change: CIFS, NTFS, FAT."""

import shutil
import subprocess

import pytest

from flwr_telemetryd.errors import ExitCode
from tests.support import homes, netfs, processes, wire

MISSING = netfs.missing() or ("" if shutil.which("bindfs") else "there is no bindfs")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

PATIENT = "from flwr_telemetry import shared_home; shared_home.ANSWER_WAIT_S = 20"
"""A busy machine is no slow server."""

EVENTS = f"""
{PATIENT}
futures = [event("PING", {{"n": n}}) for n in range(20)]
print(json.dumps(sorted({{outcome(future) for future in futures}})))
"""
CHANGED = f"""
{PATIENT}
told = []
for n in range(3):
    told.append(outcome(event("PING", {{"n": n}})))
    os.system(f"chmod -R 700 {{os.environ['FLWR_HOME']}}")
print(json.dumps(told))
"""


@pytest.fixture
def share(home, tmp_path):
    """Give a function that mounts a share over the user's home directory."""

    def mount(*options):
        home.parent.rename(tmp_path / "disk")
        home.parent.mkdir()
        words = ["bindfs", *options, str(tmp_path / "disk"), str(home.parent)]
        subprocess.run(words, check=True, capture_output=True)

    yield mount
    processes.end_all(home)
    subprocess.run(["umount", "--lazy", str(home.parent)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "options", [["0700", "--chmod-ignore"], ["0755", "--chmod-deny"], ["0700"]], ids=" ".join
)
def test_a_mode_that_every_file_has_marks_no_removal(home, share, collector, options):
    share("-p", *options)
    assert processes.answers(home, EVENTS, processes.NEVER) == ["spooled"]
    assert wire.serials(homes.spooled(home)) == [*range(20)]
    for start in 20, 30:
        assert processes.once(home).returncode == 0
        assert processes.emit(home, 10, env=processes.NEVER, start_at=start) == ["spooled"] * 10
    assert processes.once(home).returncode == 0
    assert wire.serials(collector.events()) == [*range(40)]
    assert homes.unsent_files(home) == []
    assert processes.command(home, "disable").returncode == 0


@pytest.mark.parametrize(
    ("options", "configured"),
    [(["--chmod-ignore"], False), (["--chmod-deny"], False), (["--chmod-ignore"], True)],
    ids=["ignored", "refused", "configured"],
)
def test_a_share_that_anybody_may_write_to_is_refused_once(home, share, options, configured):
    """The advice can help, no file stays behind, and the opt-out can be written."""
    share("-p", "0777", *options)
    if configured:
        homes.telemetry(home).mkdir(parents=True)
        homes.config_file(home).write_text("bursts = false\n")
    done = processes.workload(home, EVENTS, processes.NEVER)
    assert "umask=077" in done.stderr
    assert "FLWR_HOME" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path for path in home.rglob("*") if path.is_file()] == [homes.config_file(home)] * configured
    doctor = processes.command(home, "doctor")
    assert (doctor.returncode, doctor.stdout.count("umask=077")) == (1, 2)
    assert processes.command(home, "disable").returncode == 0
    assert processes.answers(home, EVENTS, processes.NEVER) == ["disabled"]
    assert processes.once(home).returncode == ExitCode.DISABLED


def test_a_mode_that_a_user_changed_marks_no_removal(home):
    """For example by `chmod -R 700`, while a process has the segment open."""
    assert processes.answers(home, CHANGED, processes.NEVER) == ["spooled"] * 3
    assert processes.emit(home, 1, env=processes.NEVER, start_at=3) == ["spooled"]
    assert wire.serials(homes.spooled(home)) == [0, 1, 2, 3]
