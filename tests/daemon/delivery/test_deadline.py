"""The deadline of a request: every wait in it ends in time, in any thread."""

import contextlib
import itertools
import socket
import ssl
import threading
import time

import pytest

from flwr_telemetryd.delivery import deadline as module
from flwr_telemetryd.delivery.deadline import DeadlineExceededError, TimedSocket, deadline, opened
from flwr_telemetryd.delivery.outcome import Retry
from tests.daemon.delivery.conftest import send
from tests.support import processes
from tests.support.tls import TrustStore

PATIENCE_S = 30.0


def drip(connection, text=b"X-A: b\r\n"):
    """Send a byte every moment, for ever: no timeout of a single call is reached."""
    for letter in itertools.cycle(text):
        connection.sendall(bytes([letter]))
        time.sleep(0.01)


def dripping(beginning, text=b"X-A: b\r\n"):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(beginning)
        drip(connection, text)

    return serve


@contextlib.contextmanager
def server(serve, context=None):
    def accept():
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection if context is None else context.wrap_socket(connection, server_side=True) as talk:
                serve(talk)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listening.getsockname()[1]
    thread.join()


def check_in_time(url, **settings):
    """Send a body, which must end with the deadline, and long before any other limit."""
    limits = {"connect_timeout_s": PATIENCE_S, "request_deadline_s": 0.3}
    began = time.monotonic()
    outcome = send(url, limits=limits, **settings)
    assert isinstance(outcome, Retry)
    assert "request_deadline_s" in outcome.reason
    assert 0.2 < time.monotonic() - began < PATIENCE_S / 2


ANSWERS = {
    "status": dripping(b"HTTP/1.1 200 O", b"k"),
    "head": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n"),
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
}


@pytest.mark.parametrize("kind", [None, ssl.SSLContext, TrustStore])
@pytest.mark.parametrize("serve", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_drips(serve, kind, authority, bundle, monkeypatch):
    """In the clear, over TLS, and where another package has replaced Python's contexts."""
    if kind is None:
        with server(serve) as port:
            check_in_time(f"http://127.0.0.1:{port}/")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setattr(ssl, "SSLContext", kind)
    with server(serve, context) as port:
        check_in_time(f"https://127.0.0.1:{port}/", ca_bundle=bundle)


@pytest.mark.parametrize("name", ["status", "head", "handshake"])
def test_a_tunnel_whose_answer_drips_and_a_handshake_that_does(name):
    tls_head = b"\x16\x03\x03\x40\x00"  # of a record of 16 KiB
    with server(ANSWERS.get(name) or dripping(tls_head)) as port:
        if name == "handshake":
            check_in_time(f"https://127.0.0.1:{port}/")
        else:
            check_in_time("https://collector.invalid/", proxy=f"http://127.0.0.1:{port}")


def test_a_look_up_that_never_ends(monkeypatch):
    """Nobody waits for it, and a connection that it opens after all is closed."""
    go_on, late = threading.Event(), []
    real = socket.create_connection

    def create_connection(address, *args, **options):
        go_on.wait()
        late.append(real(("127.0.0.1", port), *args, **options))
        return late[0]

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with server(drip) as port:
        check_in_time("http://collector.invalid/")
        go_on.set()
        ends_at = time.monotonic() + PATIENCE_S
        while not late or late[0].fileno() != -1:
            assert time.monotonic() < ends_at
            time.sleep(0.01)


def test_a_connection_that_comes_when_the_time_is_over_is_closed():
    ours, theirs = socket.socketpair()
    with theirs, deadline(0), pytest.raises(DeadlineExceededError):
        opened(lambda: ours)
    processes.wait_until(lambda: ours.fileno() == -1)


def test_without_another_thread_the_connection_is_opened_here(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._Opening, "start", refuse)
    with (
        server(lambda _: None) as port,
        opened(lambda: socket.create_connection(("127.0.0.1", port))) as found,
    ):
        assert isinstance(found, TimedSocket)


@pytest.mark.parametrize("call", ["recv", "recv_into", "sendall"])
def test_a_call_ends_with_the_deadline_in_any_thread(call):
    """The socket's own timeout is another error, and stays when the deadline is gone."""
    told = []

    def run():
        theirs, peer = socket.socketpair()
        ours = TimedSocket(theirs.family, theirs.type, theirs.proto, fileno=theirs.detach())
        argument = {"recv": 1, "recv_into": bytearray(1), "sendall": bytes(50_000_000)}[call]
        with ours, peer:
            for own_s, limit_s, expected in ((60, 0.05, DeadlineExceededError), (0.05, 60, TimeoutError)):
                ours.settimeout(own_s)
                with deadline(limit_s), pytest.raises(expected):
                    getattr(ours, call)(argument)
                told.append(ours.gettimeout())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert told == [60, 0.05]
