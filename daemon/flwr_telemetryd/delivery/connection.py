"""Connections whose answers stay in step with their requests.

HTTP has no number that ties an answer to its request. If an answer is read for the wrong request, a body that
nobody took counts as delivered. Therefore:

* interim answers (1xx) are skipped;
* a connection is used again only after a 2xx of HTTP/1.1 with an unambiguous end, if nothing more has come;
  both ways to a collector check that once more before they use it again;
* an answer does not count if the request could not be sent to its end;
* nor does it count if more follows it on a connection that was used before. Either of the two may belong to
  the former request.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import ssl
from http import HTTPStatus

from flwr_telemetry.named import Any

_MOST_INTERIM = 100
_QUIET_S = 0.002
"""A second answer comes right behind the first, but not always in the same moment."""

_HTTP_1_1 = 11

_HUNG_UP = {errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE}
"""The server has closed its end; macOS names it in more than one way."""


TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    _Connection = http.client.HTTPConnection
else:
    _Connection = object


class OutOfStepError(Exception):
    """Nobody can tell which request an answer belongs to."""


class _Answer(http.client.HTTPResponse):
    """An answer that closes its connection, unless the connection may be used again."""

    connection: InStep

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._socket = sock

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not HTTPStatus.CONTINUE <= status < HTTPStatus.OK or status == HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise OutOfStepError

    def begin(self, *args: Any, **options: Any) -> None:
        """Read the head; the arguments are those of the version of Python."""
        super().begin(*args, **options)
        if self.status == HTTPStatus.NO_CONTENT:
            self.chunked = False  # otherwise http.client waits for a body that must not come
        if not self._is_unambiguous():
            self.will_close = True

    def _is_unambiguous(self) -> bool:
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if self.status == HTTPStatus.NO_CONTENT:
            has_clear_end = not codings and lengths in ([], ["0"])
        elif codings:
            has_clear_end = not lengths and [coding.strip().lower() for coding in codings] == ["chunked"]
        else:
            has_clear_end = len(lengths) == 1 and lengths[0].isascii() and lengths[0].strip().isdigit()
        is_success = HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        return is_success and self.version == _HTTP_1_1 and has_clear_end and not self.headers.defects

    def close(self) -> None:
        """Close the answer before its end. urllib3 closes its connection, too."""
        self.will_close = True
        super().close()

    def _close_conn(self) -> None:
        """Called at the end of the body, and by ``close``."""
        is_followed = not self.will_close and self._is_followed()
        super()._close_conn()  # type: ignore[misc]
        if is_followed:
            self.connection.close()
            if self.connection.answers > 1:
                raise OutOfStepError

    def _is_followed(self) -> bool:
        """Whether anything comes after this answer, even the end of the connection."""
        timeout_s = self._socket.gettimeout()
        try:
            self._socket.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                if self.fp.peek(1):  # the rest that was read together with the answer
                    return True
            self._socket.settimeout(_QUIET_S)
            self._socket.recv(1)
        except TimeoutError:
            return False
        except (OSError, ValueError):
            return True
        finally:
            self._socket.settimeout(timeout_s)
        return True


class InStep(_Connection):
    """Mixed into a connection of http.client, or of urllib3."""

    answers = 0
    """The number of answers since the connection was opened."""
    _is_sent = False

    def connect(self) -> None:
        """Open the connection, through a tunnel if there is one."""
        super().connect()
        self.answers = 0

    def response_class(self, sock: Any, *args: Any, **options: Any) -> _Answer:  # type: ignore[override]
        """Make an answer; ``http.client`` expects a class here."""
        answer = _Answer(sock, *args, **options)
        answer.connection = self
        self.answers += 1
        return answer

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request. If the server closes the connection meanwhile, an answer is read anyway."""
        self._is_sent = False
        try:
            super().request(*args, **options)
            self._is_sent = True
        except OSError as error:
            if error.errno not in _HUNG_UP:
                raise

    def getresponse(self, *args: Any, **options: Any) -> Any:
        """Read an answer."""
        answer = super().getresponse(*args, **options)
        if not self._is_sent and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            self.close()
            raise OutOfStepError
        return answer
