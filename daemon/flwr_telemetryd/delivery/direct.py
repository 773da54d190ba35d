"""The usual way to a collector: one connection of ``http.client``, without a proxy."""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from flwr_telemetry.named import NamedTuple

from .connection import InStep
from .deadline import opened

_PLAIN = re.compile(
    r"https?://(\[[0-9a-f.:]+\]|[0-9a-z.-]*[0-9a-z])(:[0-9]+)?([/?][]!$&-;=?-Z[_a-z~]*)?",
    re.ASCII | re.IGNORECASE,
)


class NoConnectionError(Exception):
    """No connection, or one that broke before the answer."""


class ConnectTimeoutError(NoConnectionError):
    """No connection in time."""


class NoAnswerError(Exception):
    """No answer in time."""


class _Way(http.client.HTTPConnection):
    """A connection that gives the host's name as bytes: Python loads four modules to encode a text.

    Args:
        host: a name in ASCII, or an address.
        port: None for the usual one.
        connect_s: the longest time to open it, in seconds.
        context: the certificates to trust; None without TLS.
    """

    def __init__(self, host: str, port: int | None, connect_s: float, context: ssl.SSLContext | None) -> None:
        self.default_port = http.client.HTTP_PORT if context is None else http.client.HTTPS_PORT
        super().__init__(host, port or self.default_port, connect_s)  # without a port it would cut an address
        self._name, self._context = host.encode("ascii"), context

    def connect(self) -> None:
        """Open the connection."""
        address = self._name, self.port
        self.sock = opened(lambda: socket.create_connection(address, self.timeout))  # type: ignore[arg-type]
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            # In two steps, so that `close` finds the socket after a handshake that was given up.
            self.sock = self._context.wrap_socket(
                self.sock, server_hostname=self._name, do_handshake_on_connect=False
            )
            self.sock.do_handshake()


class Answer(NamedTuple):
    """An answer whose body is not read yet."""

    status: int
    headers: Mapping[str, str]
    """The names ignore case."""
    read: Callable[[int], bytes]
    """Reads at most a number of bytes of the body, and does not decompress them: kilobytes may become
    gigabytes. A body that is cut or damaged is empty. An unread rest closes the connection."""


class _Connection(InStep, _Way):
    """A connection that is used again only in step."""


def is_plain(url: str) -> bool:
    """Whether a URL needs no rules but those of ``http.client``: no character to encode."""
    return _PLAIN.fullmatch(url) is not None


class Direct:
    """A connection to a collector that is opened when it is needed.

    Args:
        url: the collector; see ``is_plain``.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context: ssl.SSLContext | None = None
        self._connection: _Connection | None = None

    def secure(self, context: ssl.SSLContext) -> None:
        """Trust the certificates of a context from now on."""
        self.close()
        context.set_alpn_protocols(["http/1.1"])
        self._context = context

    @contextlib.contextmanager
    def request(
        self, method: str, headers: Mapping[str, str], data: bytes | None, connect_s: float, read_s: float
    ) -> Iterator[Answer]:
        """Send a request, and yield its answer.

        Args:
            method: of HTTP.
            headers: all of them, but for the host and the length.
            data: the body.
            connect_s: the longest time for the connection, in seconds.
            read_s: the longest time without a byte of the answer, in seconds.

        Raises:
            NoConnectionError, ConnectTimeoutError, NoAnswerError, ssl.SSLError: there is no answer.
            OutOfStepError: nobody can tell which request the answer belongs to.
        """
        connection = self._connected(connect_s)
        try:
            connection.sock.settimeout(read_s)
            connection.request(method, self._target, data, headers)
            answer = connection.getresponse()
        except ssl.SSLError:
            raise
        except TimeoutError as error:
            raise NoAnswerError from error
        except (OSError, http.client.HTTPException) as error:
            raise NoConnectionError from error
        try:
            yield Answer(answer.status, answer.headers, functools.partial(_beginning, answer))
        finally:
            if not answer.isclosed():  # the rest of its body would look like the next answer
                answer.close()
                connection.close()

    def _connected(self, connect_s: float) -> _Connection:
        """The connection, opened again if the server has closed it or has sent anything since."""
        found = self._connection
        if found is not None and found.sock is not None and not select.select([found.sock], [], [], 0)[0]:
            return found
        self.close()
        connection = _Connection(self._host, self._port, connect_s, self._context)
        try:
            connection.connect()
            self._connection = connection
        except ssl.SSLError:
            raise
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        except OSError as error:
            raise NoConnectionError from error
        finally:
            if self._connection is None:
                connection.close()
        return connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _beginning(answer: http.client.HTTPResponse, most_bytes: int) -> bytes:
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        return answer.read(most_bytes)
    return b""
