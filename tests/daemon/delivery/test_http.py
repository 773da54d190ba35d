"""The collector over HTTP: requests, answers, failures, proxies and certificates."""

import gzip
import itertools
import socket
import ssl
import tracemalloc
from unittest import mock

import pytest
import requests
import urllib3

from flwr_telemetryd.delivery import http
from flwr_telemetryd.delivery.http import MAX_ANSWER_BYTES, Reached
from flwr_telemetryd.delivery.outcome import Delivered, Refused, Retry
from tests.daemon.delivery.conftest import BODY, KEY, Server, send, sink_for
from tests.support.collector import Answer

SECRET = "quite-secret"


@pytest.mark.parametrize("status", [200, 204, 302, 403, 405, 500, 503])
def test_reach_sends_head_without_a_body_and_accepts_every_answer(collector, status):
    collector.answer_by(lambda _request: Answer(status, {"Location": f"{collector.url}/elsewhere"}))
    with sink_for(collector.url) as sink:
        reached = sink.reach()
    assert isinstance(reached, Reached)
    assert (reached.status, reached.date.endswith("GMT")) == (status, True)
    (request,) = collector.requests
    assert (request.method, request.body) == ("HEAD", b"")
    assert request.headers.keys() <= {"content-type", "user-agent", "host", "accept-encoding"}


@pytest.mark.parametrize(
    ("url", "further"),
    [("http://127.0.0.1:9/", ""), ("http://collector.invalid/", ": its name cannot be looked up")],
)
def test_an_unreachable_collector_is_a_retry_without_an_address(url, further):
    with sink_for(url) as sink:
        assert sink.reach() == sink.send(KEY, BODY) == Retry(f"no connection to the collector{further}")


def test_the_request_has_the_key_and_no_header_about_the_machine(collector):
    assert send(collector.url) == Delivered()
    (request,) = collector.requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/event", BODY)
    assert request.headers["idempotency-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("flwr-telemetry/")
    known = {"idempotency-key", "content-type", "user-agent", "host", "content-length", "accept-encoding"}
    assert request.headers.keys() <= known


ENDLESS, LONG = Answer(200, manner="drip", took=True), Answer(422, body=b"x" * (4 * MAX_ANSWER_BYTES))


@pytest.mark.parametrize(("answer", "kind"), [(ENDLESS, Retry), (LONG, Refused)], ids=["endless", "long"])
def test_a_long_answer_is_read_only_in_part(collector, answer, kind):
    """The next body goes through a new connection."""
    collector.answer_with(answer)
    with sink_for(collector.url, limits={"request_deadline_s": 1}) as sink:
        outcome = sink.send(KEY, BODY)
        assert type(outcome) is kind
        assert len(outcome.reason) < 600
        assert sink.send(KEY, BODY) == Delivered()
    assert collector.connections == 2


def test_a_compressed_answer_is_never_decompressed(collector):
    """Some hundred bytes would become 64 MiB."""
    bomb = gzip.compress(gzip.compress(b"UNPACKED" * 2**23))
    collector.answer_with(Answer(422, {"Content-Encoding": "gzip, gzip"}, bomb))
    with sink_for(collector.url) as sink:
        tracemalloc.start()
        outcome = sink.send(KEY, BODY)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(outcome, Refused)
        assert "UNPACKED" not in outcome.reason
        assert peak_bytes < 8 * 2**20
        assert sink.send(KEY, BODY) == Delivered()


RAW = {
    "nothing": b"",
    "garbage": b"\x16\x03\x01 garbage\r\n\r\n",
    "bad_status": b"HTTP/1.1 twohundred OK\r\n\r\n",
    "half_a_header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half_a_body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "bad_length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "bad_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n",
    "half_a_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nx",
    "endless_chunk_size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 2**20,
    "bad_gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "long_line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "many_headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "no_ascii": b"HTTP/1.1 503 \xff\r\nRetry-After: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "bad_redirect": b"HTTP/1.1 302 x\r\nLocation: http://[\xff\r\nContent-Length: 0\r\n\r\n",
    "http_0_9": b"hello",
    "only_continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
}


@pytest.mark.parametrize("answer", RAW.values(), ids=RAW)
def test_an_answer_that_is_no_http_is_an_outcome(answer):
    with Server(answer, closes=True) as server:
        outcome = send(server.url)
    assert isinstance(outcome, (Retry, Delivered))
    # A status line that says 2xx has been heard, even where what follows cannot be understood.
    assert isinstance(outcome, Retry) or answer.startswith(b"HTTP/1.1 200")


def kinds_of(root):
    yield root
    for kind in root.__subclasses__():
        if kind.__module__.partition(".")[0] in {"requests", "urllib3", "ssl", "socket"}:
            yield from kinds_of(kind)


ROOTS = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ssl.SSLError, socket.gaierror)
KINDS = [kind for root in ROOTS for kind in kinds_of(root)]
KINDS += [OSError, TimeoutError, ConnectionResetError, UnicodeError, ValueError]


def test_every_exception_of_the_libraries_is_a_retry_without_a_secret():
    assert len(KINDS) > 50
    adapter = mock.Mock()
    with sink_for("http://127.0.0.1:9/%2D") as sink:
        sink._way._session.mount("http://", adapter)
        for kind in KINDS:
            adapter.send.side_effect = error = kind.__new__(kind, f"http://u:{SECRET}@127.0.0.1/")
            BaseException.__init__(error, f"http://u:{SECRET}@127.0.0.1/")
            outcome = sink.send(KEY, BODY)
            assert isinstance(outcome, Retry), kind
            assert outcome.after_s is None
            assert not any(word in outcome.reason for word in (SECRET, "127.0.0.1"))


GZIP = ["gzip", "br, GZip;q=0.5", "x-gzip"]
LARGE = b'{"event_type":"' + b"A" * 8000 + b'"}'


@pytest.mark.parametrize("accepted", ["", "identity", "br, deflate", "gzip;q=0", "gzip; q=0.000", *GZIP])
@pytest.mark.parametrize("refused", [None, 400, 415])
def test_bodies_are_compressed_after_the_collector_accepted_gzip(collector, accepted, refused):
    """Neither the first body of a run nor a small one; uncompressed again if it is refused. The key stays."""
    compresses = accepted in GZIP
    answer = Answer(200, {"Accept-Encoding": accepted} if accepted else {})
    collector.answer_by(
        lambda request: (refused if "content-encoding" in request.headers else None) or answer
    )
    with sink_for(collector.url) as sink:
        for number, body in enumerate((LARGE, LARGE + b" ", BODY)):
            assert sink.send(f"{number:064}", body) == Delivered()
    told = [
        (int(request.key), gzip.decompress(request.body) if zipped else request.body, zipped)
        for request in collector.requests
        for zipped in [request.headers.get("content-encoding") == "gzip"]
    ]
    again = [(1, LARGE + b" ", False)] if compresses and refused else []
    assert told == [(0, LARGE, False), (1, LARGE + b" ", compresses), *again, (2, BODY, False)]


NOT_TAKEN = [400, 403, 413, 415, 429, 500, 503, "reset", "close", "hang"]


@pytest.mark.parametrize("reply", NOT_TAKEN)
def test_compression_rests_after_a_compressed_body_was_not_delivered(collector, reply, monkeypatch):
    """The next try is plain. An hour later a body is compressed once more."""
    now, keys = [1000.0], (f"{number:064}" for number in itertools.count())
    monkeypatch.setattr(http.time, "monotonic", lambda: now[0])
    gzip_is_taken = []
    collector.answer_by(
        lambda request: (
            reply
            if "content-encoding" in request.headers and not gzip_is_taken
            else Answer(200, {"Accept-Encoding": "gzip"})
        )
    )
    at_once = reply in {400, 413, 415}
    with sink_for(collector.url, limits={"request_deadline_s": 1 if reply == "hang" else 30}) as sink:
        outcomes = [type(sink.send(next(keys), LARGE)) for _ in range(4)]
        assert outcomes == [Delivered, Delivered if at_once else Retry, Delivered, Delivered]
        gzip_is_taken.append(True)
        for now[0] in (1000 + http.PLAIN_S - 1, 1000 + http.PLAIN_S, 1000 + http.PLAIN_S + 1):
            assert sink.send(next(keys), LARGE) == Delivered()
    told = ["content-encoding" in request.headers for request in collector.requests]
    assert told == [False, True, *[False] * (3 if at_once else 2), False, True, True]


@pytest.mark.parametrize("status", [403, 500])
def test_only_the_answer_of_a_success_says_that_gzip_is_taken(collector, status):
    """The page of a proxy that fails may say so, too."""
    collector.answer_with(Answer(status, {"Accept-Encoding": "gzip"}))
    with sink_for(collector.url) as sink:
        assert [type(sink.send(KEY, LARGE)) for _ in range(2)] == [Retry, Delivered]
    assert all("content-encoding" not in request.headers for request in collector.requests)


# Proxies, certificates and limits


def test_a_proxy_that_refuses_or_cannot_be_used_is_a_retry(collector):
    collector.answer_with(407, 403)
    for told in ("the proxy refuses (407); give its user and password in proxy", "the proxy refuses (403)"):
        outcome = send("https://collector.invalid/x", proxy=f"http://u:{SECRET}@127.0.0.1:{collector.port}")
        assert outcome == Retry(told)
    assert [request.method for request in collector.requests] == ["CONNECT"] * 2
    outcome = send("https://collector.invalid/x", environ={"all_proxy": "ftp://127.0.0.1:9"})
    assert (type(outcome), "set all_proxy to" in outcome.reason) == (Retry, True)


@pytest.mark.parametrize("way", ["proxy", "environ"])
def test_a_collector_on_this_machine_never_meets_a_proxy(collector, way):
    """Neither the body nor its acceptance may belong to anybody else, not even if nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        settings = {way: url if way == "proxy" else {"http_proxy": url, "ALL_PROXY": url}}
        assert send(collector.url.replace("127.0.0.1", "LocalHost"), **settings) == Delivered()
        assert send("http://127.0.0.1:9/", **settings) == Retry("no connection to the collector")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize("connect_timeout_s", [0, 0.5, 1e9])
@pytest.mark.parametrize("request_deadline_s", [3600, 1e9])
def test_0_and_very_large_limits_are_valid(collector, connect_timeout_s, request_deadline_s):
    limits = {"connect_timeout_s": connect_timeout_s, "request_deadline_s": request_deadline_s}
    assert send(collector.url, limits=limits) == Delivered()


@pytest.mark.parametrize("chosen", ["gzip", "none"])
def test_the_settings_may_choose_the_compression(collector, chosen):
    """Whatever the collector says, and for small bodies too."""
    collector.answer_by(lambda _request: Answer(200, {"Accept-Encoding": "gzip"}))
    with sink_for(collector.url, compression=chosen) as sink:
        assert [sink.send(KEY, BODY), sink.send("1" * 64, LARGE)] == [Delivered()] * 2
    packed = [request.headers.get("content-encoding") for request in collector.requests]
    assert packed == ["gzip" if chosen == "gzip" else None] * 2


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("http://proxy.invalid:3128", "the proxy cannot be reached or refuses: its name cannot be looked up"),
        ("http://127.0.0.1:9", "the proxy cannot be reached or refuses"),
        (
            "https://127.0.0.1:{port}",
            "TLS failed: what answers there speaks no TLS; is it an address of http://?",
        ),
    ],
)
def test_a_proxy_that_cannot_be_reached_is_told(collector, proxy, told):
    """The last one writes https:// before the address of a proxy that speaks HTTP."""
    outcome = send("https://collector.invalid/x", proxy=proxy.format(port=collector.port))
    assert outcome == Retry(told)


_LENGTH = b"Content-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxied"])
@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 150, "the answer cannot be used"),
        (b"HTTP/1.1 503 No\r\nX: " + b"y" * 70_000 + b"\r\n", "the answer cannot be used"),
        (b"HTTP/1.1 200 " + b"y" * 70_000 + b"\r\n", "the answer cannot be used"),
        (b"HTTP/1.1 103 X\r\n" + b"X: y\r\n" * 150 + b"\r\nHTTP/1.1 200 OK\r\n", "the answer cannot be used"),
        (b"HTTP/2.0 200 OK\r\n", "speaks no HTTP/1.1"),
        (b"SSH-2.0-OpenSSH\r\n", "speaks no HTTP/1.1"),
    ],
    ids=["headers", "header", "status", "interim", "version", "ssh"],
)
def test_a_head_that_cannot_be_read_is_told(head, told, is_proxied):
    """It is not called a missing connection, and the next answer counts."""
    with Server(head + _LENGTH) as server:
        url, where = server.url, {}
        if is_proxied:
            url, where = "http://collector.invalid/x", {"proxy": f"http://127.0.0.1:{server.port}"}
        with sink_for(url, **where) as sink:
            first, second = sink.send(KEY, BODY), sink.send(KEY, BODY)
    assert isinstance(first, Retry)
    assert told in first.reason
    assert second == Delivered()


def test_a_connection_that_ends_without_an_answer_is_told(collector):
    collector.answer_with(Answer(manner="close"))
    outcome = send(collector.url)
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("no connection to the collector: it ended before an answer came")
