"""The collector over HTTP, through one connection that stays open.

Certificates are always verified, and redirects are never followed. No cookie is kept, and ``.netrc`` is not
read. Every exception of ``requests`` becomes a ``Retry``, with a reason that holds no address and no
credentials. One request, with body and answer, never takes longer than ``request_deadline_s``.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple, TypeVar

import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from flwr_telemetry.settings import Settings
from flwr_telemetry.version import __version__

from .deadline import deadline
from .outcome import Outcome, Refused, Retry
from .reasons import reason_for
from .responses import outcome_of

MAX_ANSWER_BYTES = 64 * 1024

_COMPRESSED_FROM_BYTES = 4096
_SHORTEST_S = 0.001
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

Answer = TypeVar("Answer")


class Reached(NamedTuple):
    """A server answered, and TLS works."""

    status: int
    """The status code, which may be any."""
    date: str
    """The ``Date`` header; empty without one."""


class HttpSink:
    """POSTs bodies to one URL.

    Args:
        settings: ``url``, ``proxy``, ``ca_bundle`` and the limits of a request.
        environ: names proxy and certificates if the settings do not.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._url = settings.url
        self._limits = settings.limits
        self._session = requests.Session()
        # With trust_env, requests would send credentials from .netrc. So the proxies are set below.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Otherwise requests reads the whole answer of a redirect, to prepare the next request.
        self._session.get_redirect_target = lambda _answer: None  # type: ignore[method-assign,assignment]
        agent = f"flwr-telemetry/{__version__}"
        self._session.headers = CaseInsensitiveDict({"Content-Type": "application/json", "User-Agent": agent})
        bundles = (settings.ca_bundle, *map(environ.get, _CERTIFICATES))
        self._session.verify = next(filter(None, bundles), True)
        by_setting = {"http": settings.proxy, "https": settings.proxy} if settings.proxy is not None else None
        self._session.proxies = by_setting or _proxies(self._url, environ)
        self._compresses = False
        """Whether the collector's last answer named gzip in ``Accept-Encoding`` (RFC 7694)."""

    @property
    def proxy(self) -> str | None:
        """The URL of the proxy for ``url``; None without one."""
        found: str | None = requests.utils.select_proxy(self._url, self._session.proxies)
        return found

    def send(self, key: str, body: bytes) -> Outcome:
        """POST one body."""
        return self._within_deadline(lambda: self._post(key, body))

    def reach(self) -> Reached | Retry:
        """Send a HEAD request, which holds no event. Every answer proves that the server can be reached."""
        return self._within_deadline(self._head)

    def _within_deadline(self, request: Callable[[], Answer]) -> Answer | Retry:
        try:
            with deadline(self._limits.request_deadline_s):
                return request()
        except Exception as error:  # noqa: BLE001 - every exception of the libraries is an outcome
            self._session.close()  # the rest of the connection may belong to this answer
            bundle = self._session.verify
            if isinstance(bundle, str) and not os.access(bundle, os.R_OK):
                return Retry("the certificates that ca_bundle or the environment names cannot be read")
            return Retry(reason_for(error))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _head(self) -> Reached:
        with self._request("HEAD") as answer:
            return Reached(answer.status_code, answer.headers.get("Date", ""))

    def _request(self, method: str, **content: Any) -> requests.Response:
        limits = self._limits
        timeout = max(limits.connect_timeout_s, _SHORTEST_S), max(limits.request_deadline_s, _SHORTEST_S)
        options = {"allow_redirects": False, "stream": True, "timeout": timeout, **content}
        return self._session.request(method, self._url, **options)

    def _post(self, key: str, body: bytes) -> Outcome:
        headers = {"Idempotency-Key": key}
        is_compressed = self._compresses and len(body) >= _COMPRESSED_FROM_BYTES
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        data = gzip.compress(body, compresslevel=6, mtime=0) if is_compressed else body
        with self._request("POST", data=data, headers=headers) as answer:
            text = _beginning(answer)
            self._compresses = accepts_gzip(answer.headers.get("Accept-Encoding", ""))
            outcome = outcome_of(answer.status_code, answer.headers, text, datetime.now(UTC))
        if is_compressed and isinstance(outcome, Refused):
            self._compresses = False  # the collector may have refused only the compression
            return self._post(key, body)
        return outcome


def accepts_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip with a weight above 0."""
    for item in accepted.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


def _proxies(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies that the environment names; empty if it exempts ``url``."""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY")
    if requests.utils.should_bypass_proxies(url, no_proxy=exempt or ""):
        return {}
    names = ("http_proxy", "https_proxy", "all_proxy")
    found = {name.partition("_")[0]: environ.get(name) or environ.get(name.upper()) for name in names}
    return {scheme: proxy for scheme, proxy in found.items() if proxy}


def _beginning(answer: requests.Response) -> str:
    """The beginning of an answer's body, for the reason of a refusal. The status alone decides.

    The body is not decompressed, because some kilobytes can decompress to gigabytes. A body that is cut or
    damaged does not change the status. An unread rest closes the connection.
    """
    text = b""
    with contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
        text = answer.raw.read(MAX_ANSWER_BYTES, decode_content=False)
    return text.decode("utf-8", "replace")
