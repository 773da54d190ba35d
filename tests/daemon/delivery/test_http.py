"""The collector over HTTP: what is sent, what is never sent, and every way in which it can fail."""

import gzip
import http.client
import socket
import ssl
import threading
import tracemalloc

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.delivery.deadline import DeadlineExceededError
from flwr_telemetryd.delivery.http import MAX_ANSWER_BYTES, HttpSink, Reached
from flwr_telemetryd.delivery.outcome import Delivered, Refused, Retry
from flwr_telemetryd.delivery.reasons import reason_for
from tests.support.collector import Answer

YES = Consent(enabled=True, decided_by="default", reason="")
BODY, KEY = b'{"event_type":"PING"}', "0" * 64
SECRET = "quite-secret"


def sink_for(url, environ=None, **settings):
    """Give a sink with limits that a busy machine keeps."""
    limits = Limits(**{"connect_timeout_s": 30, "request_deadline_s": 30, **settings.pop("limits", {})})
    return HttpSink(Settings(consent=YES, url=url, limits=limits, **settings), environ or {})


def send(url, **settings):
    """Send one body through a sink of its own."""
    sink = sink_for(url, **settings)
    try:
        return sink.send(KEY, BODY)
    finally:
        sink.close()


@pytest.mark.parametrize("status", [200, 204, 302, 403, 405, 500, 503])
def test_whether_anybody_is_there_is_asked_without_a_body(collector, status):
    """A HEAD with no key; any answer says that somebody is, and a redirect is not followed."""
    collector.answer_by(lambda _request: Answer(status, {"Location": f"{collector.url}/elsewhere"}))
    sink = sink_for(collector.url)
    reached = sink.reach()
    sink.close()
    assert isinstance(reached, Reached)
    assert (reached.status, reached.date.endswith("GMT")) == (status, True)
    (request,) = collector.requests
    assert (request.method, request.body) == ("HEAD", b"")
    assert request.headers.keys() <= {"content-type", "user-agent", "host", "accept-encoding"}


def test_that_nobody_is_there_is_an_outcome():
    """In the words that a delivery has for it."""
    sink = sink_for("http://127.0.0.1:9/")
    assert sink.reach() == sink.send(KEY, BODY) == Retry("no connection to the collector")


def test_the_request(collector):
    """A POST of the body with the key, our name, and no header that says more of the machine."""
    assert send(collector.url) == Delivered()
    (request,) = collector.requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/event", BODY)
    assert request.headers["idempotency-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("flwr-telemetry/")
    known = {"idempotency-key", "content-type", "user-agent", "host", "content-length", "accept-encoding"}
    assert request.headers.keys() <= known


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(collector, status):
    """Wherever it points, the body goes nowhere else, and is kept."""
    collector.answer_with(Answer(status, {"Location": "/elsewhere"}))
    assert send(collector.url) == Retry(f"the collector answered {status}")
    assert len(collector.requests) == 1


def test_no_cookie_is_kept(collector):
    """A collector cannot mark a sidecar, by no domain and no path."""
    cookies = ["id=1", "id=1; Domain=127.0.0.1; Path=/", "id=1; Max-Age=99999"]
    collector.answer_with(*[Answer(200, {"Set-Cookie": cookie}) for cookie in cookies])
    sink = sink_for(collector.url)
    for _ in range(4):
        sink.send(KEY, BODY)
    sink.close()
    assert [request.headers.get("cookie") for request in collector.requests] == [None] * 4


def test_no_credentials_of_netrc_are_sent(collector, tmp_path, monkeypatch):
    """Neither that of HOME nor that of NETRC, not even after a 401."""
    for name in ("home/.netrc", "netrc"):
        (tmp_path / name).write_text(f"machine 127.0.0.1 login u password {SECRET}\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    collector.answer_with(Answer(401, {"WWW-Authenticate": "Basic realm=x"}))
    for _ in range(2):
        send(collector.url)
    assert [request.headers.get("authorization") for request in collector.requests] == [None] * 2


def test_one_connection_serves_many_bodies(collector):
    """It is kept, also after refusals, and opened again where the collector ended it."""
    collector.answer_with(200, 422, 503, 200)
    sink = sink_for(collector.url)
    kinds = [type(sink.send(KEY, BODY)) for _ in range(4)]
    assert kinds == [Delivered, Refused, Retry, Delivered]
    assert collector.connections == 1
    collector.answer_with(Answer(200, {"Connection": "close"}))
    assert [sink.send(KEY, BODY) for _ in range(2)] == [Delivered()] * 2
    sink.close()


@pytest.mark.parametrize("manner", ["reset", "close", "hang", "drip"])
def test_a_collector_that_misbehaves(collector, manner):
    """A reset, an early end, silence and a drip are a Retry by the deadline; the next body arrives."""
    collector.answer_with(Answer(503, manner=manner))
    sink = sink_for(collector.url, limits={"request_deadline_s": 0.3})
    outcome = sink.send(KEY, BODY)
    sink.close()
    assert isinstance(outcome, Retry)
    assert "127.0.0.1" not in outcome.reason
    assert send(collector.url) == Delivered()


def test_a_drip_behind_a_status_is_cut_by_the_deadline(collector):
    """An answer that does not end within the deadline is none yet, and the connection is not used again."""
    collector.answer_with(Answer(200, manner="drip", took=True))
    sink = sink_for(collector.url, limits={"request_deadline_s": 1})
    assert isinstance(sink.send(KEY, BODY), Retry)
    assert sink.send(KEY, BODY) == Delivered()
    sink.close()
    assert collector.connections == 2


def test_an_endless_answer_is_not_read_to_its_end(collector):
    """The status counts; of a long body a part is read, and the connection is not used again."""
    collector.answer_with(Answer(422, body=b"x" * (4 * MAX_ANSWER_BYTES)))
    sink = sink_for(collector.url)
    outcome = sink.send(KEY, BODY)
    assert isinstance(outcome, Refused)
    assert len(outcome.reason) < 600
    assert sink.send(KEY, BODY) == Delivered()
    assert collector.connections == 2
    sink.close()


def test_a_packed_answer_is_never_unpacked(collector):
    """An answer of some hundred bytes that would unpack to 64 MiB takes none of them."""
    bomb = gzip.compress(gzip.compress(b"UNPACKED" * 2**23))
    collector.answer_with(Answer(422, {"Content-Encoding": "gzip, gzip"}, bomb))
    sink = sink_for(collector.url)
    tracemalloc.start()
    outcome = sink.send(KEY, BODY)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(outcome, Refused)
    assert "UNPACKED" not in outcome.reason
    assert peak_bytes < 8 * 2**20
    assert sink.send(KEY, BODY) == Delivered()
    sink.close()
    assert collector.connections == 1


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


@pytest.fixture
def raw():
    """Give a server that says some bytes to one request and ends the connection."""
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(answer):
            def run():
                connection, _ = server.accept()
                with connection:
                    seen = b""
                    while not seen.endswith(BODY):
                        seen += connection.recv(65_536)
                    connection.sendall(answer)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/"

        yield serve
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("answer", RAW.values(), ids=RAW)
def test_an_answer_that_is_no_http(raw, answer):
    """Whatever the bytes are, the outcome is one, nothing is raised, and the body is kept."""
    outcome = send(raw(answer))
    assert isinstance(outcome, (Retry, Delivered))
    # A status line that says 2xx has been heard, even where what follows cannot be understood.
    assert isinstance(outcome, Retry) or answer.startswith(b"HTTP/1.1 200")


def test_a_retry_after_beyond_all_calendars(collector):
    """A date that no clock can hold is garbage like any other."""
    collector.answer_with(Answer(503, {"Retry-After": "Sun, 22 Nov 99999999999999 10:01:30 GMT"}))
    assert isinstance(send(collector.url), Retry)


def kinds_of(*roots):
    """Give these classes and all that derive from them in their libraries."""
    found = list(roots)
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub not in found]
    return [
        kind
        for kind in found
        if kind.__module__.partition(".")[0] in {"requests", "urllib3", "ssl", "socket"}
    ]


KINDS = [
    *kinds_of(
        requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ssl.SSLError, socket.gaierror
    ),
    OSError,
    TimeoutError,
    ConnectionResetError,
    UnicodeError,
    ValueError,
]


class Raising(BaseAdapter):
    """A connection that fails with a given exception."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def send(self, *_, **__):
        raise self.error

    def close(self):
        pass


def instance(kind):
    """Make an exception of any kind, whatever its constructor wants, that would tell a secret."""
    error = kind.__new__(kind, f"http://u:{SECRET}@127.0.0.1/")
    BaseException.__init__(error, f"http://u:{SECRET}@127.0.0.1/")
    return error


def test_every_exception_of_the_libraries_is_a_retry():
    """The translation is total, and no word holds an address or credentials."""
    assert len(KINDS) > 50
    sink = sink_for("http://127.0.0.1:9/")
    for kind in KINDS:
        sink._session.mount("http://", Raising(instance(kind)))
        outcome = sink.send(KEY, BODY)
        assert isinstance(outcome, Retry), kind
        assert outcome.after_s is None
        assert SECRET not in outcome.reason
        assert "127.0.0.1" not in outcome.reason
    sink.close()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (DeadlineExceededError(), "request_deadline_s"),
        (requests.exceptions.ProxyError(SECRET), "the proxy"),
        (requests.exceptions.SSLError(SECRET), "TLS failed"),
        (requests.exceptions.ConnectTimeout(SECRET), "connect_timeout_s"),
        (requests.exceptions.ReadTimeout(SECRET), "no answer in time"),
        (requests.exceptions.ConnectionError(SECRET), "no connection"),
        (requests.exceptions.ChunkedEncodingError(SECRET), "broke"),
        (http.client.IncompleteRead(b""), "(IncompleteRead)"),
    ],
)
def test_the_reason_for_a_person(error, word):
    """The nearest class gives it, subclasses before what they derive from."""
    assert word in reason_for(error)
    assert SECRET not in reason_for(error)


@pytest.mark.parametrize(
    ("code", "word"),
    [(10, "expired"), (18, "ca_bundle"), (20, "authority"), (62, "host name"), (99, "code 99")],
)
def test_the_reason_for_a_certificate(code, word):
    """However deep the libraries hide it, and however they say so."""
    reason = ssl.SSLCertVerificationError(1, f"not valid for {SECRET}")
    reason.verify_code = code
    hidden = urllib3.exceptions.MaxRetryError(None, SECRET, urllib3.exceptions.SSLError(reason))
    assert word in reason_for(requests.exceptions.SSLError(hidden))
    assert SECRET not in reason_for(requests.exceptions.SSLError(hidden))


def test_a_reason_for_an_exception_that_came_from_itself():
    """A circle of causes ends."""
    error = ValueError(SECRET)
    error.args = (error, error)
    assert reason_for(error) == "the request failed (ValueError)"


LARGE = b'{"event_type":"' + b"A" * 8000 + b'"}'


@pytest.mark.parametrize(
    ("accepted", "zips"),
    [
        (None, False),
        ("", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip", True),
        ("br, GZip;q=0.5", True),
        ("x-gzip", True),
    ],
)
def test_bodies_are_compressed_once_a_collector_says_that_it_takes_them(collector, accepted, zips):
    """Not the first of a life, and none that is small; the key stays that of the body."""
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    collector.answer_by(lambda _request: Answer(200, headers))
    sink = sink_for(collector.url)
    for number, body in enumerate((LARGE, LARGE + b" ", BODY)):
        assert sink.send(f"{number:064}", body) == Delivered()
    sink.close()
    first, second, third = collector.requests
    assert (first.body, third.body) == (LARGE, BODY)
    assert "content-encoding" not in {**first.headers, **third.headers}
    if zips:
        assert second.headers["content-encoding"] == "gzip"
        assert gzip.decompress(second.body) == LARGE + b" "
    else:
        assert second.body == LARGE + b" "
        assert "content-encoding" not in second.headers
    assert [int(request.key) for request in collector.requests] == [0, 1, 2]


@pytest.mark.parametrize("status", [400, 415])
def test_a_word_about_the_compression_costs_no_body(collector, status):
    """What is refused compressed is sent as it is, and so is what follows."""
    accepts = Answer(200, {"Accept-Encoding": "gzip"})
    collector.answer_by(lambda request: status if "content-encoding" in request.headers else accepts)
    sink = sink_for(collector.url)
    assert [sink.send(f"{number:064}", LARGE) for number in range(2)] == [Delivered()] * 2
    sink.close()
    assert [request.headers.get("content-encoding") for request in collector.requests] == [None, "gzip", None]
