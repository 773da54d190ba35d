"""A collector that speaks OTLP, as the doctor sees it: every answer is that of a real server."""

import json
import socket
import threading

import pytest

from flwr_telemetry.settings import DEFAULT_URL
from flwr_telemetryd.admin.doctor import Verdict, otlp
from tests.daemon.admin.doctor.test_way_out import checks
from tests.support.collector import Answer


def found_at(url, **more):
    return checks(url, format="otlp", compression="none", **more)["collector"]


def test_a_collector_gets_a_request_without_a_record(collector):
    collector.answer_with(Answer(200, body=b'{"partialSuccess":null}'))
    found = found_at(collector.url)
    assert (found.verdict, found.advice) == (Verdict.OK, "")
    (request,) = collector.requests
    assert (request.method, json.loads(request.body)) == ("POST", {"resourceLogs": []})


OK, NOTE, FAULT = Verdict.OK, Verdict.NOTE, Verdict.FAULT


@pytest.mark.parametrize(
    ("answer", "verdict", "word"),
    [
        (Answer(200, body=b""), OK, ""),
        (Answer(200, {"Content-Type": "application/x-protobuf"}, b"\x0a\x00"), OK, ""),
        (Answer(200, {"Content-Type": "text/html"}, b"<html>"), NOTE, "portal"),
        *((Answer(status), FAULT, "headers_file") for status in (401, 403)),
        *((Answer(status), FAULT, "/v1/logs") for status in (404, 405)),
        (Answer(407), FAULT, "proxy"),
        (Answer(415), FAULT, "application/json"),
        (Answer(415, {"Content-Type": "application/grpc"}, b""), FAULT, "4318"),
        (Answer(400, body=b"gRPC requires HTTP/2"), FAULT, "4318"),
        (Answer(400, body=b"Client sent an HTTP request to an HTTPS server.\n"), FAULT, "https://"),
        *((answer, NOTE, "last error") for answer in (Answer(503), Answer(302, {"Location": "/login"}))),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_answer_is_explained(collector, answer, verdict, word):
    collector.answer_by(lambda _request: answer)
    found = found_at(collector.url)
    assert found.verdict is verdict, found
    assert word in found.advice
    if answer.status == 404:
        found = found_at(f"http://127.0.0.1:{collector.port}")
        assert ("nothing at /" in found.found, "url lacks the path" in found.advice) == (True, True)


@pytest.mark.parametrize("greeting", [b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x03", b"hello there\r\n"])
def test_a_port_that_speaks_no_http_may_be_that_of_grpc(greeting):
    """A server of gRPC sends a frame of HTTP/2 first, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                connection.recv(65_536)

        thread = threading.Thread(target=greet)
        thread.start()
        found = found_at(f"http://127.0.0.1:{server.getsockname()[1]}/v1/logs")
        thread.join()
    assert found.verdict is Verdict.FAULT
    assert "4318" in found.advice


def test_the_usual_port_of_grpc_is_known_and_without_a_url_of_ones_own_nothing_is_asked(monkeypatch):
    assert "4317 is for gRPC" in found_at("http://127.0.0.1:4317/v1/logs").found
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [(0, 0, 0, "", ("127.0.0.1", 443))])
    found = found_at(DEFAULT_URL)
    assert (found.verdict, "config set url" in found.advice) == (Verdict.FAULT, True)


def test_the_variables_of_opentelemetry_are_told_by_name():
    """A value may hold a token."""
    assert [*otlp.variables({"PATH": "/bin"})] == []
    environ = {"HEADERS": "api-key=quite-secret", "ENDPOINT": "http://x"}
    (found,) = otlp.variables({f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()})
    assert "OTEL_EXPORTER_OTLP_ENDPOINT and 1 more is not obeyed" in found.found
    assert "quite-secret" not in f"{found}"
