"""The demo's own judgement: what is missing or doubled at its receiver is found."""

import json
import os

import psutil
import pytest

from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.demo import run, workload
from flwr_telemetryd.admin.demo.receiver import Receiver
from tests.support.processes import NEVER


def _receiver(*kinds_and_numbers):
    with Receiver() as receiver:
        for index, (kind, number) in enumerate(kinds_and_numbers):
            event = {
                "event_type": kind,
                "event_details": {"run-id-hash": workload.run_id_hash(number)},
                "context": {"cluster": str(number), "date": "2026-11-22T10:00:00.123456+00:00"},
            }
            receiver.take(str(index), json.dumps(event).encode())
    return receiver


ENTER, LEAVE = workload.ENTER.value, workload.LEAVE.value


@pytest.mark.parametrize(
    ("got", "missing", "doubled"),
    [
        ([], 2, 0),
        ([(ENTER, 0)], 1, 0),
        ([(ENTER, 0), (LEAVE, 1)], 1, 1),
        ([(ENTER, 0), (LEAVE, 0), (LEAVE, 0)], 0, 1),
    ],
)
def test_what_is_missing_or_doubled_is_found(got, missing, doubled):
    report = run.report(1, _receiver(*got), 1.0, "")
    assert not report.complete
    assert (report.events_missing, report.events_doubled) == (missing, doubled)


def test_no_more_workloads_run_at_a_time_than_there_are_processors(home):
    home.mkdir()
    before, running = psutil.Process().children(), []
    run._run_workloads(
        run.processors() + 4,
        Home(home),
        {**os.environ, **NEVER},
        lambda _ended: running.append(len(psutil.Process().children()) - len(before)),
    )
    assert len(running) == run.processors() + 4
    assert max(running) <= run.processors()


def test_without_the_extra_it_has_a_receiver_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(run.collector, "is_installed", lambda: False)
    told = run.run(1, {**os.environ, "TMPDIR": str(tmp_path)})
    assert (told.complete, told.events_received, told.answers) == (True, 2, "")
    assert told.body["event_details"]["run-id-hash"] == workload.run_id_hash(0)
