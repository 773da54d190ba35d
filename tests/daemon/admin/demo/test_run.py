"""The demo finds what is missing or doubled; its receiver keeps each body once and counts every request."""

import json
import os
import socket

import psutil
import pytest
import requests

from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.demo import run, workload
from flwr_telemetryd.admin.demo.receiver import MAX_BODY_BYTES, Receiver
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


def test_a_repeated_key_is_kept_once():
    with Receiver() as receiver, requests.Session() as session:
        session.trust_env = False
        for key, body in (("a", b"1"), ("a", b"1"), ("b", b"22")):
            answer = session.post(receiver.url, data=body, headers={"Idempotency-Key": key}, timeout=30)
            assert answer.status_code == 200
        assert receiver.server_address[0] == "127.0.0.1"
        assert (receiver.bodies, receiver.requests) == ({"a": b"1", "b": b"22"}, 3)
        assert receiver.request_bytes == 4


def test_a_body_without_a_sensible_length_is_refused():
    """Nothing is read that could fill the memory."""
    for length in (str(MAX_BODY_BYTES + 1), "-1", "many"):
        with Receiver() as receiver, socket.create_connection(receiver.server_address) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 413 " in connection.recv(1024)
            assert receiver.requests == 0
