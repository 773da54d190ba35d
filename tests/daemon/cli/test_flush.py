"""`flwr-telemetry flush`: exit codes and messages; `tests/daemon/admin/test_flush.py` has the delivery."""

import os
import pwd
import signal
import subprocess

import pytest

from tests.support import homes, processes, records
from tests.support.collector import Answer
from tests.support.commands import answer_of
from tests.support.processes import command


def test_nothing_to_do_is_success_and_creates_nothing(home):
    done = command(home, "flush")
    assert (done.returncode, done.stdout) == (0, f"Nothing waits in {home}.\n")
    assert homes.tree(home.parent) == []


def test_delivered_events_are_reported(home, collector):
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    done = command(home, "flush")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Delivered 3 events.\n", "")
    homes.put(home, records.series(2))
    told = answer_of(home, "flush")
    assert [told.pop(name) for name in ("waited", "left")] == [{"events": n, "bodies": 0} for n in (2, 0)]
    assert told == {"outcome": "delivered", "rejected": 0, "reason": None}


@pytest.mark.parametrize("timeout", ["0", "1.5"])
def test_remaining_events_are_reported_with_the_reason(home, collector, timeout):
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    collector.answer_by(lambda _request: 503)
    processes.once(home)
    done = command(home, "flush", "--timeout", timeout)
    assert done.returncode == 1
    assert "3 events could not be delivered: the collector answered 503." in done.stderr
    assert "kept" in done.stderr
    assert homes.waiting(home)


def test_an_interrupt_leaves_no_process_and_loses_nothing(home, collector):
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    collector.answer_by(lambda _request: "hang")
    arguments = ["-m", "flwr_telemetryd.cli", "flush", "--timeout", "600"]
    flush = processes.start(home, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.wait_until(lambda: collector.requests)
    flush.send_signal(signal.SIGINT)
    _, said = flush.communicate(timeout=processes.PATIENCE_S)
    assert flush.returncode == 1
    assert said == "flwr-telemetry: interrupted; events that are not delivered are kept\n"
    assert processes.processes_of(home) == {}
    assert homes.unsent_files(home)


def test_a_dry_run_says_what_would_go_where(home, collector):
    homes.configure(home, collector.url)
    homes.put(home, records.series(3))
    before = homes.contents(home)
    assert command(home, "flush", "--dry-run").stdout == f"Would deliver 3 events to {collector.url}.\n"
    told = answer_of(home, "flush", "--dry-run", env={"FLWR_TELEMETRY_UPLOAD": "0"})
    assert (told["events"], told["to"]) == (3, "nowhere")
    assert command(home, "flush", "--dry-run", env={"FLWR_TELEMETRY_ENABLED": "0"}).returncode == 3
    assert homes.contents(home) == before
    assert collector.requests == []


def test_it_says_where_it_wrote_and_why_something_was_refused(home, collector, tmp_path):
    url = f"file://{tmp_path}/%u.jsonl"
    homes.configure(home, url)
    homes.put(home, records.series(1))
    assert command(home, "flush").stdout == f"Wrote 1 event to {url}.\n"
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert (tmp_path / f"{user}.jsonl").read_bytes().splitlines() == homes.sent(home)
    homes.configure(home, collector.url)
    collector.answer_by(lambda _request: Answer(422, body=b"no such type"))
    homes.put(home, records.series(1))
    told = command(home, "flush").stdout
    assert "Refused: the collector answered 422: no such type.\n" in told
    assert ("refused 1 event" in told, "Delivered" in told) == (True, False)
    assert "last: the collector answered 422: no such type" in command(home, "status").stdout
    assert command(home, "flush", "-q").stdout == ""
