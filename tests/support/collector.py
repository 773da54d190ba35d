"""A real HTTP collector on loopback that keeps everything it hears and answers by a script."""

import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from tests.support.wire import expand, expand_all

__all__ = ["Answer", "Collector", "Reply", "Request", "expand"]

Manner = Literal["answer", "reset", "hang", "drip", "close"]


@dataclass(frozen=True)
class Request:
    at_s: float  # on the monotonic clock, when the body was complete
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def key(self):
        return self.headers.get("idempotency-key", "")


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"status":"created"}'
    manner: Manner = "answer"
    took: bool | None = None  # whether the body counts as accepted; by default: a 2xx that was answered

    @property
    def accepts(self):
        if self.took is not None:
            return self.took
        return self.manner == "answer" and 200 <= self.status < 300

    @property
    def refuses(self):
        """Whether the collector refuses the body for good."""
        return not self.accepts and self.status in (400, 413, 415, 422)


Reply = Answer | int | Manner

# An accepted body is accepted even if the answer never arrives.
ANSWERS = {
    **{
        str(status): Answer(status) for status in (200, 202, 204, 302, 400, 404, 413, 415, 422, 429, 500, 503)
    },
    "retry in an hour": Answer(429, {"Retry-After": "3600"}),
    "retry one day": Answer(503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    "retry at the epoch": Answer(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    "retry at once": Answer(503, {"Retry-After": "0"}),
    "retry for ever": Answer(429, {"Retry-After": "9" * 30}),
    "retry some time": Answer(429, {"Retry-After": "soon"}),
    "retry before": Answer(503, {"Retry-After": "-5"}),
    "retry nothing": Answer(503, {"Retry-After": ""}),
    "reset": Answer(manner="reset"),
    "close": Answer(manner="close"),
    "take and reset": Answer(manner="reset", took=True),
    "take and close": Answer(manner="close", took=True),
    "take and fail": Answer(500, took=True),
}


def _answer(reply):
    if isinstance(reply, int):
        return Answer(reply)
    if isinstance(reply, str):
        return Answer(manner=reply)
    return reply


class Collector:
    """Listens on 127.0.0.1 while its `with` block lasts.

    Args:
        listener: a socket that listens already, as one of another network does.
    """

    def __init__(self, listener=None):
        self._lock = threading.Lock()
        self._requests = []
        self._accepted = {}
        self._script = deque()
        self._decide = lambda _request: 200
        self._server = _Server(self, listener)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Stop, end every connection, and tell of faults of the collector itself."""
        self._server.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()
        assert not self._server.faults, self._server.faults

    @property
    def port(self):
        return int(self._server.server_address[1])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/api/v1/event"

    @property
    def connections(self):
        return self._server.connections

    @property
    def requests(self):
        with self._lock:
            return list(self._requests)

    @property
    def accepted(self):
        with self._lock:
            return dict(self._accepted)

    def events(self):
        """Give the events of all accepted bodies, in the wire's form, after de-duplication by key."""
        return expand_all(self.accepted.values())

    def answer_with(self, *replies):
        with self._lock:
            self._script.extend(replies)

    def answer_by(self, decide):
        with self._lock:
            self._decide = decide

    def start_afresh(self, decide):
        """Forget all requests, and let this function decide."""
        with self._lock:
            self._requests.clear()
            self._accepted.clear()
            self._decide = decide

    def take(self, request):
        """Record a request and decide on it; called by the handler."""
        with self._lock:
            self._requests.append(request)
            reply = self._script.popleft() if self._script else None
            decide = self._decide
        answer = _answer(decide(request) if reply is None else reply)
        if answer.accepts:
            with self._lock:
                known = self._accepted.setdefault(request.key, request.body)
            if known != request.body:
                self._server.faults.append(f"two bodies under the key {request.key}")
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for every handler
    request_queue_size = 256

    def __init__(self, collector, listener):
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket, self.server_address = listener, listener.getsockname()
        self.collector = collector
        self.stopping = threading.Event()
        self.faults = []
        self.connections = 0
        self._open = set()
        self._lock = threading.Lock()

    def opened(self, connection):
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def closed(self, connection):
        with self._lock:
            self._open.discard(connection)

    def end_connections(self):
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
                if os.name == "nt":  # only the close of its socket wakes a thread that reads
                    socket.close(connection.detach())
            except OSError:
                continue  # the other side was faster

    def handle_error(self, request, client_address):
        error = sys.exception()
        if not isinstance(error, OSError):
            self.faults.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.opened(self.connection)

    def finish(self):
        self.server.closed(self.connection)
        super().finish()

    def log_message(self, *_):
        """Stay silent."""

    def _serve(self):
        size_bytes = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:  # its sender died: no server takes that for a request
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.collector.take(Request(time.monotonic(), self.command, self.path, headers, body))
        getattr(self, f"_{answer.manner}")(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = do_OPTIONS = do_DELETE = _serve  # noqa: N815

    def _answer(self, answer):
        self._head(answer)
        if answer.status not in (204, 304):
            self.wfile.write(answer.body)

    def _head(self, answer):
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()

    def _reset(self, _answer):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _close(self, _answer):
        self.close_connection = True

    def _hang(self, _answer):
        self.server.stopping.wait()
        self.close_connection = True

    def _drip(self, answer):
        self._head(Answer(answer.status, answer.headers, b" " * 100_000))
        self.close_connection = True
        while not self.server.stopping.wait(0.05):
            self.wfile.write(b" ")
