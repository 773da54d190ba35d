"""The collector over HTTP, through one connection that stays open.

Certificates are always verified, and redirects are never followed. No cookie is kept, and ``.netrc`` is not
read. Every exception of the libraries becomes a ``Retry``, with a reason that holds no address and no
credentials. One request, with body and answer, never takes longer than ``request_deadline_s``.

``direct.py`` is the usual way to the collector, and ``proxied.py`` the way through a proxy. ``trust.py``
chooses the certificates, and ``proxies.py`` the proxy.
"""

from __future__ import annotations

import contextlib
import math
import re
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from flwr_telemetry.named import NamedTuple, TypeVar
from flwr_telemetry.settings import Settings
from flwr_telemetry.version import __version__

from . import proxies, trust
from .deadline import deadline, time_connections
from .direct import Answer, Direct, is_plain
from .outcome import Outcome, Retry
from .reasons import certificate_error, reason_for
from .responses import REFUSALS, outcome_of

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .credentials import Credentials
    from .proxied import Proxied

MAX_ANSWER_BYTES = 64 * 1024

PLAIN_S = 3600.0
"""No body is compressed for so long after a compressed one was not delivered."""

_COMPRESSED_FROM_BYTES = 4096
_OF_NO_BODY = frozenset({401, 403, 404, 407, 429, 503})
"""Answers that say nothing about the compression, where somebody has chosen it."""
_SHORTEST_S = 0.001

T = TypeVar("T")


class Reached(NamedTuple):
    """A server answered, and TLS works."""

    status: int
    """The status code, which may be any."""
    date: str
    """The ``Date`` header; empty without one."""
    allow: str = ""
    """The ``Allow`` header; empty without one."""


class Answered(NamedTuple):
    """The answer to a body."""

    status: int
    headers: Mapping[str, str]
    text: str
    """The beginning of its content, without the values of our own headers."""


class HttpSink:
    """POSTs bodies to one URL.

    Args:
        settings: ``url``, ``proxy``, ``ca_bundle``, the credentials and the limits of a request.
        environ: names proxy and certificates if the settings do not.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._url = settings.url
        self._limits = settings.limits
        self._credentials: Credentials | None = None
        if settings.headers_file or settings.client_cert or settings.client_key:
            from .credentials import Credentials

            self._credentials = Credentials(settings)
        self.trust = trust.choose(settings.ca_bundle, environ)
        """The certificates that are trusted."""
        self.proxy = proxies.choose(self._url, settings.proxy, environ)
        """The proxy that is used; None without one."""
        self._context: ssl.SSLContext | None = None
        """Made for the first request over TLS, and again after a certificate was not trusted."""
        self._way = _way(self._url, self.proxy)
        self._headers = {"Content-Type": "application/json", "User-Agent": f"flwr-telemetry/{__version__}"}
        self._compression = settings.compression
        """``gzip`` or ``none``; None compresses what the collector says that it takes."""
        self._accepts_gzip = False
        """Whether the last answer of success named gzip in ``Accept-Encoding`` (RFC 7694)."""
        self._plain_until = -math.inf
        """Monotonic seconds until which no body is compressed."""

    def send(self, key: str, body: bytes) -> Outcome:
        """POST one body."""
        return self._within_deadline(lambda: self._post(key, body))

    def reach(self, method: str = "HEAD") -> Reached | Retry:
        """Send a request that holds no event. Every answer proves that the server can be reached."""
        return self._within_deadline(lambda: self._reached(method))

    def _within_deadline(self, request: Callable[[], T]) -> T | Retry:
        if self.proxy is not None and (problem := proxies.problem(self.proxy)):
            return Retry(f"{problem.found}; {problem.remedy}")
        try:
            with deadline(self._limits.request_deadline_s):
                return self._trusting(request)
        except trust.BundleError as error:
            return Retry(str(error))
        except Exception as error:  # noqa: BLE001 - every exception of the libraries is an outcome
            self._way.close()  # the rest of the connection may belong to this answer
            reason = reason_for(error, self.trust.origin)
            is_untrusted = certificate_error(error) is not None
            if is_untrusted or (self._credentials and self._credentials.has_certificate):
                self._context = None  # another certificate may be there at the next try
            return Retry(reason)

    def _trusting(self, request: Callable[[], T]) -> T:
        """Do a request over TLS, once more with all certificates if the first ones do not suffice."""
        if not self._url.lower().startswith("https:"):
            return request()
        if self._context is None:
            context = self.trust.context()
            if self._credentials:
                self._credentials.add_to(context)
            time_connections(context)
            self._context = context
            self._way.secure(context)
        try:
            return request()
        except Exception as error:
            if self.trust.is_exclusive or certificate_error(error) is None:
                raise
        trust.add_rest(self._context)  # no byte of the request was sent
        return request()

    def close(self) -> None:
        """Close the connection."""
        self._way.close()

    def _reached(self, method: str) -> Reached:
        with self._request(method) as answer:
            headers = answer.headers
            return Reached(answer.status, headers.get("Date", ""), headers.get("Allow", ""))

    def _request(
        self, method: str, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> contextlib.AbstractContextManager[Answer]:
        times = self._limits.connect_timeout_s, self._limits.request_deadline_s
        connect_s, read_s = (max(seconds, _SHORTEST_S) for seconds in times)
        own = self._credentials.headers() if self._credentials else {}
        whole = {**own, **self._headers, **(headers or {})}
        return self._way.request(method, whole, data, connect_s, read_s)

    def _post(self, key: str, body: bytes) -> Outcome:
        answered = self._exchange(key, body)
        return outcome_of(answered.status, answered.headers, answered.text, datetime.now(UTC))

    def _compresses(self, body: bytes) -> bool:
        if self._compression == "none" or time.monotonic() < self._plain_until:
            return False
        return self._compression == "gzip" or (self._accepts_gzip and len(body) >= _COMPRESSED_FROM_BYTES)

    def _exchange(self, key: str, body: bytes) -> Answered:
        """POST some bytes under a key. They are sent again, plain, if only the compression may be refused."""
        headers = {"Idempotency-Key": key}
        data = body
        if is_compressed := self._compresses(body):
            import gzip

            data = gzip.compress(body, compresslevel=6, mtime=0)
            headers["Content-Encoding"] = "gzip"
            # Something between us and the collector may not take it: it refuses, fails, hangs or hangs up.
            self._plain_until = time.monotonic() + PLAIN_S
        with self._request("POST", headers, data) as answer:
            # The beginning of its body, for the reason of a refusal. The status alone decides.
            text = answer.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
            answered = Answered(answer.status, answer.headers, self._scrubbed(text))
        if is_success := HTTPStatus.OK <= answered.status < HTTPStatus.MULTIPLE_CHOICES:
            self._accepts_gzip = accepts_gzip(answer.headers.get("Accept-Encoding", ""))
        is_refused = is_compressed and answered.status in REFUSALS
        if is_refused:
            answered = self._exchange(key, body)
        is_of_another_kind = self._compression is not None and answer.status in _OF_NO_BODY
        if is_compressed and (
            is_success or is_of_another_kind or (is_refused and answered.status == answer.status)
        ):
            self._plain_until = -math.inf  # it is not the compression that is refused
        return answered

    def _scrubbed(self, text: str) -> str:
        """A text of the server without the values of our headers."""
        return self._credentials.scrubbed(text) if self._credentials else text


def accepts_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip with a weight above 0."""
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


def _way(url: str, proxy: proxies.Proxy | None) -> Direct | Proxied:
    if proxy is None and is_plain(url):
        return Direct(url)
    from .proxied import Proxied

    return Proxied(url, None if proxy is None else proxy.url)
