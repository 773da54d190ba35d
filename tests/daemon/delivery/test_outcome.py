"""The contract of both sinks: a body arrives, or an outcome gives the reason; nothing is ever raised."""

import errno
import json
import os
import ssl

import pytest

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetryd.delivery import open_sink
from flwr_telemetryd.delivery.file import FileSink
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from tests.support import wire
from tests.support.faults import descriptors

YES = Consent(enabled=True, decided_by="default", reason="")
BODIES = [
    b'{"event_type":"PING","event_details":{},"context":{}}',
    json.dumps({"a": "é\n\0"}).encode(),
    b"{}",
    b'{"a":"' + b"x" * 1_048_000 + b'"}',
]


class Destination:
    """A sink, the bodies that arrived, and functions that break and repair its destination."""

    def __init__(self, url, arrived, break_, mend):
        self.sink = open_sink(Settings(consent=YES, url=url))
        self.url, self.arrived, self.break_, self.mend = url, arrived, break_, mend

    def send(self, body):
        return self.sink.send(wire.key_of(body), body)


@pytest.fixture(params=["http", "file"])
def destination(request, tmp_path):
    if request.param == "http":
        collector = request.getfixturevalue("collector")
        destination = Destination(
            collector.url,
            lambda: list(collector.accepted.values()),
            lambda: collector.answer_by(lambda _: 503),
            lambda: collector.answer_by(lambda _: 200),
        )
    else:
        path = tmp_path / "a place" / "out.jsonl"
        path.parent.mkdir()
        destination = Destination(
            path.as_uri(),
            lambda: path.read_bytes().splitlines() if path.exists() else [],
            lambda: path.parent.rename(tmp_path / "gone") and None,
            lambda: (tmp_path / "gone").rename(path.parent) and None,
        )
    yield destination
    destination.sink.close()


def test_every_body_arrives_once_in_order_byte_for_byte(destination):
    for body in BODIES:
        assert destination.send(body) == Delivered()
    assert destination.arrived() == BODIES


def test_a_broken_destination_is_a_retry_until_it_works_again(destination):
    assert destination.send(BODIES[0]) == Delivered()
    destination.break_()
    outcome = destination.send(BODIES[1])
    assert isinstance(outcome, Retry)
    assert outcome.reason
    destination.mend()
    assert (destination.send(BODIES[2]), destination.arrived()) == (Delivered(), [BODIES[0], BODIES[2]])


def test_a_closed_sink_leaves_nothing_open(destination):
    before = descriptors()
    for body in BODIES:
        destination.send(body)
    destination.sink.close()
    destination.sink.close()
    # The collector, being of this process, holds its ends a moment longer; the file's sink holds none.
    if isinstance(destination.sink, FileSink):
        assert descriptors() == before


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "disk"), OSError("no number"), ssl.SSLError("tls"), TimeoutError()], ids=repr
)
def test_every_error_of_the_system_is_a_retry(destination, error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("socket.socket.connect", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr(os, "open", fail)
    assert isinstance(destination.send(BODIES[0]), Retry)
