"""Answers stay in step with requests: by real sockets, in the clear, over TLS and through a tunnel."""

import socket
import ssl
from unittest import mock

import pytest

from flwr_telemetryd.delivery.direct import Direct, NoConnectionError, is_plain
from flwr_telemetryd.delivery.outcome import Delivered, Refused, Retry
from tests.daemon.delivery.conftest import KEY, OK, TUNNEL, Server, sink_for

BUSY = b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\n{}"


def outcomes(url, count=2, body=b"{}", **settings):
    """The outcomes of some bodies that are sent one after the other."""
    with sink_for(url, **settings) as sink:
        return [sink.send(KEY, body) for _ in range(count)]


ADDRESSES = {"http://[::1]/": (b"::1", 80), "https://Collector.invalid?x=1": (b"collector.invalid", 443)}
ADDRESSES |= {"https://collector.invalid:444/x": (b"collector.invalid", 444)}


@pytest.mark.parametrize("url", ADDRESSES)
def test_the_address_of_a_url(monkeypatch, url):
    connect = mock.Mock(side_effect=ConnectionRefusedError)
    monkeypatch.setattr(socket, "create_connection", connect)
    way = Direct(url)
    if url.startswith("https"):
        way.secure(ssl.create_default_context())
    with pytest.raises(NoConnectionError), way.request("HEAD", {}, None, 5, 5):
        pass
    assert [call.args[0] for call in connect.mock_calls] == [ADDRESSES[url]]


@pytest.mark.parametrize(
    "url", ["https://\u017f.invalid/", "https://\u212a.invalid/", "https://\xe4.invalid/"]
)
def test_a_letter_outside_ascii_needs_rules_even_if_its_other_case_is_in_ascii(url):
    assert not is_plain(url)


CLEAN = {
    "length": OK,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no_content": b"HTTP/1.1 204 OK\r\n\r\n",
    "no_content_of_length_0": b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"HTTP/1.1 201 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" + OK,
    "interim_in_pieces": [b"HTTP/1.1 103 Early Hints\r\n", b"Link: x\r\n\r", b"\nHTTP/1.1 199 X\r\n\r\n", OK],
}

FRESH = {
    "closed": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "doubled": OK + OK,
    "followed_by_an_interim": OK + b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "followed_by_garbage": OK + b"x",
    "followed_by_a_line": OK + b"\r\n",
    "long_body": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}",
    "two_ends": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "odd_length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "two_codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 0\r\n\r\n",
    "no_content_with_a_body": b"HTTP/1.1 204 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no_content_in_chunks": b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked_and_more": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nx",
    "a_header_that_is_none": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nnonsense\r\nX: y\r\n\r\n{}",
    "old": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", CLEAN.values(), ids=CLEAN)
def test_a_connection_is_used_again_after_a_clear_answer(answer):
    with Server(answer, answer) as server:
        assert outcomes(server.url, 3) == [Delivered()] * 3
    assert [len(bodies) for bodies in server.bodies] == [3]


@pytest.mark.parametrize("answer", FRESH.values(), ids=FRESH)
def test_a_connection_is_not_used_again_after_another_answer(answer):
    """The body counts as delivered, and the next one goes through a fresh connection."""
    with Server(answer) as server:
        assert outcomes(server.url) == [Delivered()] * 2
    assert [len(bodies) for bodies in server.bodies] == [1, 1]


@pytest.mark.parametrize("status", [101, 302, 403, 422, 429, 500, 503])
def test_a_connection_is_not_used_again_after_a_failure(status):
    """A change of protocol is one, and no interim answer."""
    head = b"Upgrade: x\r\n\r\n" + OK if status == 101 else b"Content-Length: 2\r\n\r\n{}"
    with Server(b"HTTP/1.1 %d X\r\n" % status + head) as server:
        first, second = outcomes(server.url)
    assert (type(first), second) == (Refused if status == 422 else Retry, Delivered())
    assert first.reason.startswith(f"the collector answered {status}")
    assert [len(bodies) for bodies in server.bodies] == [1, 1]


LATE = {"failure": BUSY, "success": OK, "interim": b"HTTP/1.1 103 X\r\n\r\n" + BUSY}


@pytest.mark.parametrize("own", LATE.values(), ids=LATE)
def test_a_late_answer_to_the_former_body_is_none_to_the_next(own):
    """The former answer comes once more before the next body's own: nobody can tell which is which."""
    with Server(OK, OK + own) as server:
        first, second, third = outcomes(server.url, 3)
    assert (first, third) == (Delivered(), Delivered())
    assert isinstance(second, Retry)
    assert "out of step" in second.reason
    assert [len(bodies) for bodies in server.bodies] == [2, 1]


@pytest.mark.parametrize(("answer", "size"), [(b"HTTP/1.1 102 Processing\r\n\r\n" * 200, 2), (None, 2**24)])
def test_interim_answers_without_an_end_are_a_failure(answer, size):
    """So is an answer before the whole body: the server says 200 and hangs up, and cannot have the rest."""
    with Server(answer) as server:
        first, second = outcomes(server.url, body=b"x" * size)
    assert (type(first), second) == (Retry, Delivered())


@pytest.fixture(scope="module")
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "collector.invalid").configure_cert(context)
    return context


@pytest.mark.parametrize("is_tunnelled", [False, True], ids=["direct", "tunnel"])
@pytest.mark.parametrize(
    ("answers", "connections"),
    [((), [3]), ((OK + OK,), [1, 2]), ((OK, BUSY), [2, 1]), ((CLEAN["interim"],), [3])],
    ids=["clear", "doubled", "failure", "interim"],
)
def test_the_same_holds_over_tls(tls, bundle, answers, connections, is_tunnelled):
    """Also through a proxy that sends an interim answer first. Each fresh connection has its own tunnel."""
    with Server(*answers, tls=tls, tunnel=b"HTTP/1.1 103 X\r\n\r\n" + TUNNEL) as server:
        address = f"127.0.0.1:{server.port}"
        where = {"url": "https://collector.invalid/x", "proxy": f"http://{address}"}
        found = outcomes(
            ca_bundle=bundle, count=3, **(where if is_tunnelled else {"url": f"https://{address}/x"})
        )
    failed = Retry("the collector answered 503")
    assert found == [failed if BUSY in answers[number : number + 1] else Delivered() for number in range(3)]
    assert [len(bodies) for bodies in server.bodies] == connections
