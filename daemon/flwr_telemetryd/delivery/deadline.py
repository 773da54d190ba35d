"""A deadline for one request, without signals: each call on a socket gets the rest of the time.

A timeout for each call is not enough, because a server that sends a byte a second never reaches it. So the
sockets of this module shorten their own timeout before each call. A look-up of a name has no timeout at all.
It happens in a thread, together with the opening of the connection, and nobody waits longer for that thread.

This works in every thread and on every system. It relies on the caller to use these sockets alone.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

from flwr_telemetry.named import Any

RESOLVER_OPTIONS = "timeout:2 attempts:1"
"""The value of ``RES_OPTIONS`` (resolv.conf(5)): a look-up that nobody waits for any more ends soon."""

_SHORTEST_S = 0.001

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class DeadlineExceededError(Exception):
    """The time is over."""


class _Now(threading.local):
    """The deadline of this thread."""

    end: float | None = None
    """When the time is over, in monotonic seconds; None without a deadline."""


_now = _Now()


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let the calls in this block, in this thread, raise DeadlineExceededError once the time is over."""
    former, _now.end = _now.end, time.monotonic() + seconds
    try:
        yield
    finally:
        _now.end = former


def left_s(own_s: float | None = None) -> float | None:
    """The rest of the time, at most ``own_s``, in seconds; None without any limit.

    Raises:
        DeadlineExceededError: nothing is left.
    """
    if _now.end is None:
        return own_s
    left = _now.end - time.monotonic()
    if left <= 0:
        raise DeadlineExceededError
    left = min(max(left, _SHORTEST_S), threading.TIMEOUT_MAX)
    return left if own_s is None else min(own_s, left)


class _Timed(_Socket):
    """Mixed into a socket: each call ends with the deadline, or with the socket's own timeout."""

    _own_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Set the socket's own timeout."""
        self._own_s = value
        super().settimeout(value)

    def gettimeout(self) -> float | None:
        """The socket's own timeout."""
        return self._own_s

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        super().settimeout(left_s(self._own_s))
        try:
            yield
        except TimeoutError:
            left_s()
            raise

    def recv(self, *args: Any) -> bytes:
        """As the socket's own."""
        with self._in_time():
            return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        """As the socket's own."""
        with self._in_time():
            return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        """As the socket's own."""
        with self._in_time():
            return super().send(*args)

    def sendall(self, *args: Any) -> None:
        """As the socket's own."""
        with self._in_time():
            super().sendall(*args)


class TimedSocket(_Timed, socket.socket):
    """A connection whose calls end with the deadline."""


class TimedTls(_Timed, ssl.SSLSocket):
    """The same with TLS; see ``time_connections``."""

    def do_handshake(self, *args: Any) -> None:
        """As the socket's own."""
        with self._in_time():
            super().do_handshake(*args)


def time_connections(context: ssl.SSLContext) -> None:
    """Have a context make connections whose calls end with the deadline."""
    # truststore replaces the class of contexts. Its own holds one of Python's, and extends what that makes.
    made_by = getattr(context, "_ctx", context)
    kind = made_by.sslsocket_class
    made_by.sslsocket_class = TimedTls if kind is ssl.SSLSocket else type("TimedTls", (TimedTls, kind), {})


class _Opening(threading.Thread):
    """Opens a connection. Its caller may have given up before it is open; then it is closed."""

    def __init__(self, create: Callable[[], socket.socket]) -> None:
        super().__init__(name="flwr-telemetryd-connect", daemon=True)
        self._create = create
        self._lock = threading.Lock()
        self._is_given_up = False
        self._found: socket.socket | BaseException = DeadlineExceededError()

    def run(self) -> None:
        """Open it; called by the thread."""
        found: socket.socket | BaseException
        try:
            found = self._create()
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            found = error
        with self._lock:
            self._found = found
            self._close_unwanted()

    def _close_unwanted(self) -> None:
        if self._is_given_up and isinstance(self._found, socket.socket):
            self._found.close()

    def result(self) -> socket.socket:
        """The connection; raises what opening it raised, or DeadlineExceededError."""
        is_open = False
        try:
            self.join(left_s())
            is_open = not self.is_alive()
        finally:
            with self._lock:
                self._is_given_up = not is_open
                self._close_unwanted()
        if not is_open:
            raise DeadlineExceededError
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


def opened(create: Callable[[], socket.socket]) -> TimedSocket:
    """A connection that a function opens, which may look up a name.

    Args:
        create: looks up the name, and connects; it may go on after the deadline.

    Raises:
        DeadlineExceededError: it took too long.
    """
    opening = _Opening(create)
    try:
        opening.start()
    except RuntimeError:  # no further thread is allowed here
        found = create()
    else:
        found = opening.result()
    own_s = found.gettimeout()
    timed = TimedSocket(found.family, found.type, found.proto, fileno=found.detach())
    timed.settimeout(own_s)
    return timed
