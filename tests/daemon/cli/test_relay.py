"""`flwr-telemetry relay`: exit codes and messages; `tests/daemon/admin/relay` has the delivery."""

import fcntl
import json
import os
import signal
import subprocess

import pytest

from flwr_telemetry.record import to_wire
from flwr_telemetryd.burst import codec
from tests.support import homes, processes, records
from tests.support.processes import command


@pytest.fixture
def file(tmp_path):
    """Give a file of three bodies, in a directory of its own."""
    (tmp_path / "shared").mkdir()
    path = tmp_path / "shared" / "metrics.jsonl"
    path.write_text("".join(codec.dumps(to_wire(event)) + "\n" for event in records.series(3)))
    return path


def test_delivered_bodies_are_reported(home, file, collector):
    """As a sentence for people, and as JSON for programs. The second relay finds nothing new."""
    homes.configure(home, collector.url)
    done = command(home, "relay", str(file))
    assert (done.returncode, done.stdout) == (0, f"Delivered 3 events of {file}, in 3 bodies.\n"), done.stderr
    assert done.stderr == ""
    again = command(home, "relay", str(file))
    assert (again.returncode, again.stdout) == (0, f"Nothing new in {file}.\n")
    told = command(home, "relay", "--json", str(file))
    assert told.returncode == 0
    assert json.loads(told.stdout) == {
        "outcome": "delivered",
        "reason": None,
        "bodies": 0,
        "events": 0,
        "rejected": 0,
        "forgotten": 0,
        "damaged": 0,
        "rest_bytes": 0,
        "from_start": False,
    }


def test_damaged_lines_are_reported_once_by_their_numbers(home, file, collector):
    """Exit code 1, and ten lines at most on standard error. The next relay succeeds."""
    homes.configure(home, collector.url)
    with file.open("ab") as out:
        out.write(b"rubbish\n" * 12)
    done = command(home, "relay", str(file))
    assert done.returncode == 1
    assert done.stdout.startswith("Delivered 3 events")
    assert [line.split()[2] for line in done.stderr.splitlines()[:-1]] == [str(n) for n in range(4, 14)]
    assert "in all, 12 lines" in done.stderr
    assert command(home, "relay", str(file)).returncode == 0


def test_a_last_line_without_a_line_end_is_reported(home, file, collector):
    """Exit code 1: something is left."""
    homes.configure(home, collector.url)
    file.write_bytes(file.read_bytes()[:-1])
    done = command(home, "relay", str(file))
    assert done.returncode == 1
    assert "no line end yet" in done.stderr
    assert len(collector.accepted) == 2


def test_remaining_bodies_are_reported_with_the_reason(home, file, collector):
    """Exit code 1, the error and an advice. Refused events and a rotated file are reported too."""
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: 503)
    done = processes.in_time(
        lambda limit_s: command(home, "relay", "--timeout", str(limit_s), str(file)),
        first_s=0.5,
        enough=lambda done: "503" in done.stderr,
    )
    assert done.returncode == 1
    assert "are left: the collector answered 503." in done.stderr
    assert "run the same command again" in done.stderr
    collector.answer_by(lambda _request: 422)
    done = command(home, "relay", str(file))
    assert done.returncode == 0
    assert "refused 3 events" in done.stdout
    file.write_bytes(file.read_bytes()[10:])
    assert "from its beginning" in command(home, "relay", str(file)).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a home to somebody else")
def test_the_home_of_another_user_is_left_alone(home, file, collector):
    """Exit code 3: telemetry is off there for everybody else."""
    homes.configure(home, collector.url)
    os.chown(home, 65534, 65534)
    done = command(home, "relay", str(file))
    assert done.returncode == 3
    assert (collector.requests, os.listdir(file.parent)) == ([], [file.name])


@pytest.mark.parametrize("what", ["missing", "directory", "fifo", "own"])
def test_a_path_that_cannot_be_relayed_is_wrong_usage(home, file, collector, what):
    """Exit code 2 and a message; no file is created."""
    homes.configure(home, file.as_uri() if what == "own" else collector.url)
    if what != "own":
        file.unlink()
    if what == "directory":
        file.mkdir()
    elif what == "fifo":
        os.mkfifo(file)
    done = command(home, "relay", str(file))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not file.with_name("metrics.jsonl.relayed").exists()


def test_two_at_once_are_exit_code_4(home, file, collector):
    """The second one leaves the file to the first."""
    homes.configure(home, collector.url)
    with file.with_name("metrics.jsonl.relayed").open("w") as cursor:
        os.fchmod(cursor.fileno(), 0o600)
        fcntl.flock(cursor, fcntl.LOCK_EX)
        done = command(home, "relay", str(file))
    assert (done.returncode, collector.requests) == (4, [])
    assert "another relay" in done.stderr


@pytest.mark.parametrize("what", ["no cursor", "a directory"])
def test_a_place_that_cannot_be_kept_is_exit_code_5(home, file, collector, what):
    """No request is sent, because a relay without an offset would send the whole file each time."""
    homes.configure(home, collector.url)
    cursor = file.with_name("metrics.jsonl.relayed")
    if what == "a directory":
        cursor.mkdir()
    else:
        cursor.write_text("somebody's")
    done = command(home, "relay", str(file))
    assert (done.returncode, collector.requests) == (5, [])
    assert str(cursor) in done.stderr


def test_an_interrupt_keeps_everything(home, file, collector):
    """After Ctrl-C the next relay goes on."""
    homes.configure(home, collector.url)
    collector.answer_with(200, "hang")
    arguments = ["-m", "flwr_telemetryd.cli", "relay", "--timeout", "600", str(file)]
    relay = processes.start(home, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.wait_until(lambda: len(collector.requests) == 2)
    relay.send_signal(signal.SIGINT)
    _, said = relay.communicate(timeout=processes.PATIENCE_S)
    assert relay.returncode == 1
    assert "interrupted" in said
    assert processes.processes_of(home) == {}
    assert command(home, "relay", str(file)).returncode == 0
    assert len(collector.accepted) == 3
    assert len(collector.requests) == 4
