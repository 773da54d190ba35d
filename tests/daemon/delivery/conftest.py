"""Sinks that are closed again, authorities, and a server that sends any bytes."""

import contextlib
import socket
import threading

import pytest
import trustme

from flwr_telemetry.settings import Consent, Settings
from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.delivery import open_sink
from flwr_telemetryd.delivery.http import HttpSink

YES = Consent(enabled=True, decided_by="default", reason="")
BODY, KEY = b'{"event_type":"PING"}', "0" * 64
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@contextlib.contextmanager
def sink_for(url, environ=None, **settings):
    """A sink whose limits are long enough for a busy machine."""
    limits = Limits(**{"connect_timeout_s": 30, "request_deadline_s": 30, **settings.pop("limits", {})})
    chosen = Settings(consent=YES, url=url, limits=limits, **settings)
    made = open_sink(chosen) if environ is None else HttpSink(chosen, environ)
    with contextlib.closing(made) as sink:
        yield sink


def send(url, body=BODY, **settings):
    with sink_for(url, **settings) as sink:
        return sink.send(KEY, body)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def bundle(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


class Server:
    """Sends one of some answers, byte for byte, to each request of a connection; in the end it says OK.

    A list of bytes is sent piece by piece, None is a reset before the body is read. With ``closes`` it closes
    the connection after an answer. With a TLS context it is also a proxy: it answers CONNECT with ``tunnel``,
    and goes on as the collector.
    """

    def __init__(self, *answers, tls=None, tunnel=TUNNEL, closes=False):
        self.answers, self.tls, self.tunnel, self.closes = list(answers), tls, tunnel, closes
        self.bodies = []
        """The bodies that were read, one list for each connection."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._connection = self._listener

    @property
    def port(self):
        return self._listener.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        for end in (self._listener, self._connection):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self):
        """Serve the connections one after the other: the sink has only one."""
        while True:
            try:
                connection, _ = self._listener.accept()
                self._connection = connection
            except OSError:
                return
            self.bodies.append([])
            with contextlib.suppress(OSError):
                self._serve(connection)
            connection.close()

    def _serve(self, connection):
        if self.tls is not None and connection.recv(1, socket.MSG_PEEK) == b"C":
            _head(connection.makefile("rb", buffering=0))
            connection.sendall(self.tunnel)
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as reader:
            while head := _head(reader):
                answer = self.answers.pop(0) if self.answers else OK
                if answer is None:
                    connection.sendall(OK)
                    return  # unread bytes make this a reset
                length = next(
                    line for line in head.splitlines() if line.lower().startswith(b"content-length")
                )
                self.bodies[-1].append(reader.read(int(length.split(b":")[1])))
                for piece in answer if isinstance(answer, list) else [answer]:
                    connection.sendall(piece)
                if self.closes:
                    return


def _head(reader):
    """The head of a request; nothing at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (line := reader.readline()):
            return b""
        head += line
    return head
