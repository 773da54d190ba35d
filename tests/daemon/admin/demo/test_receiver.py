"""The demo's own collector keeps each body once and counts every request."""

import socket
from urllib.parse import urlsplit

import requests

from flwr_telemetryd.admin.demo.receiver import MAX_BODY_BYTES, Receiver


def _post(receiver, key, body):
    with requests.Session() as session:
        session.trust_env = False
        return session.post(receiver.url, data=body, headers={"Idempotency-Key": key}, timeout=30).status_code


def _connected(receiver):
    parts = urlsplit(receiver.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def test_a_repeated_key_is_kept_once():
    with Receiver() as receiver:
        assert [_post(receiver, "a", b"1"), _post(receiver, "a", b"1"), _post(receiver, "b", b"22")] == [
            200
        ] * 3
        assert (receiver.bodies, receiver.requests) == ({"a": b"1", "b": b"22"}, 3)
        assert receiver.request_bytes == 4


def test_a_body_without_a_sensible_length_is_refused():
    """Nothing is read that could fill the memory."""
    for length in (str(MAX_BODY_BYTES + 1), "-1", "many"):
        with Receiver() as receiver, _connected(receiver) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
            assert b" 413 " in connection.recv(1024)
            assert receiver.requests == 0


def test_it_listens_on_loopback_alone():
    with Receiver() as receiver:
        assert receiver.server_address[0] == "127.0.0.1"
