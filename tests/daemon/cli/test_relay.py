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
from tests.support.commands import ran
from tests.support.processes import command

NOTHING = dict.fromkeys(("bodies", "events", "rejected", "forgotten", "damaged", "rest_bytes"), 0)
NOTHING |= {"outcome": "delivered", "reason": None, "from_start": False}


@pytest.fixture
def file(home, tmp_path, collector):
    """Give a file of three bodies, in a directory of its own; the collector is that of the home."""
    homes.configure(home, collector.url)
    (tmp_path / "shared").mkdir()
    path = tmp_path / "shared" / "metrics.jsonl"
    path.write_text("".join(codec.dumps(to_wire(event)) + "\n" for event in records.series(3)))
    return path


def test_delivered_bodies_are_reported(home, file):
    done = ran(home, "relay", str(file))
    assert (done.stdout, done.stderr) == (f"Delivered 3 events of {file}, in 3 bodies.\n", "")
    assert ran(home, "relay", str(file)).stdout == f"Nothing new in {file}.\n"
    assert json.loads(ran(home, "relay", "--json", str(file)).stdout) == NOTHING


def test_damaged_lines_are_reported_once_by_their_numbers(home, file):
    """Ten lines at most. A last line without a line end is left, which is exit code 1, too."""
    whole = file.read_bytes()
    file.write_bytes(whole + b"rubbish\n" * 12 + whole[:-1])
    done = ran(home, "relay", str(file), code=1)
    assert done.stdout.startswith("Delivered 3 events")
    *lines, total, left = done.stderr.splitlines()
    assert [line.split()[2] for line in lines] == [str(n) for n in range(4, 14)]
    assert "in all, 12 lines" in total
    assert "no line end yet" in left
    ran(home, "relay", str(file), code=1)
    file.write_bytes(file.read_bytes() + b"\n")
    ran(home, "relay", str(file))


def test_remaining_bodies_are_reported_with_the_reason(home, file, collector):
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
    assert "refused 3 events" in ran(home, "relay", str(file)).stdout
    file.write_bytes(file.read_bytes()[10:])
    assert "from its beginning" in command(home, "relay", str(file)).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a home to somebody else")
def test_the_home_of_another_user_is_left_alone(home, file, collector):
    os.chown(home, 65534, 65534)
    ran(home, "relay", str(file), code=3)
    assert (collector.requests, os.listdir(file.parent)) == ([], [file.name])


@pytest.mark.parametrize("what", ["missing", "directory", "fifo", "below a file", "too long", "own"])
def test_a_path_that_cannot_be_relayed_is_wrong_usage(home, file, what):
    """No file is created, and a FIFO does not block the relay."""
    path = {"below a file": file / "x", "too long": file.with_name("x" * 300)}.get(what, file)
    if what == "own":
        homes.configure(home, file.as_uri())
    elif path == file:
        file.unlink()
    if what == "directory":
        file.mkdir()
    elif what == "fifo":
        os.mkfifo(file)
    told = ran(home, "relay", str(path), code=2, env={"COLUMNS": "400"}).stderr
    assert ("--home" if what == "own" else path.name) in told
    assert [*file.parent.parent.glob("**/*.relayed")] == []


@pytest.mark.parametrize(("what", "code"), [("another relay", 4), ("no offset", 5), ("a directory", 5)])
def test_an_offset_that_cannot_be_kept_costs_no_request(home, file, collector, what, code):
    """A relay without an offset would send the whole file each time."""
    place = file.with_name("metrics.jsonl.relayed")
    if what == "a directory":
        place.mkdir()
    else:
        place.write_text("somebody's" * (code == 5))
        place.chmod(0o600)
    descriptor = os.open(place, os.O_RDONLY)
    if code == 4:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = ran(home, "relay", str(file), code=code)
    os.close(descriptor)
    assert (str(place) in done.stderr, collector.requests) == (True, [])


def test_an_interrupt_keeps_everything(home, file, collector):
    collector.answer_with(200, "hang")
    arguments = ["-m", "flwr_telemetryd.cli", "relay", "--timeout", "600", str(file)]
    relay = processes.start(home, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.wait_until(lambda: len(collector.requests) == 2)
    relay.send_signal(signal.SIGINT)
    _, said = relay.communicate(timeout=processes.PATIENCE_S)
    assert (relay.returncode, "interrupted" in said) == (1, True)
    assert processes.processes_of(home) == {}
    ran(home, "relay", str(file))
    assert (len(collector.accepted), len(collector.requests)) == (3, 4)
