"""The receiver: a collector on loopback, for the length of a ``with`` block.

It accepts every POST, keeps one body for each ``Idempotency-Key``, and counts requests and bytes. It listens
on 127.0.0.1 alone. This module never forwards or writes anything.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MAX_BODY_BYTES = 2 * 1024 * 1024
ANSWER = b'{"status":"created"}'


class Receiver(ThreadingHTTPServer):
    """The server, and its counts."""

    daemon_threads = True  # a connection that is kept open must not delay the end
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: dict[str, bytes] = {}
        """By idempotency key."""
        self.requests = 0
        """Requests, repeated ones included."""
        self.request_bytes = 0
        """The size of their bodies."""
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/api/v1/event"
        """For the settings of a home."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def read(self) -> str:
        """Nothing: all is there already, and it makes no report."""
        return ""

    def take(self, key: str, body: bytes) -> None:
        """Count a request and keep its body; called by the handler."""
        with self._lock:
            self.requests += 1
            self.request_bytes += len(body)
            self.bodies.setdefault(key, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Receiver

    def do_POST(self) -> None:
        """Accept one body."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)  # also closes the connection
            return
        body = self.rfile.read(int(length))
        self.server.take(self.headers.get("Idempotency-Key", ""), body)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""
