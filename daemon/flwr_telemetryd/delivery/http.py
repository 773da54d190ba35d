"""The collector, over one connection that is kept.

Verification is always on; redirects are never followed; no cookie is kept and nothing is read from
``.netrc``. Everything that ``requests`` can raise becomes a ``Retry`` here, with a word that holds no
address and no credentials. One request, body and answer, never takes longer than its deadline.
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

from flwr_telemetry.settings import Settings
from flwr_telemetry.version import __version__

from .deadline import deadline
from .outcome import Outcome, Refused, Retry
from .reasons import word_for
from .responses import outcome_of

MAX_ANSWER_BYTES = 64 * 1024

_WORTH_ZIPPING_BYTES = 4096
_ZIP_LEVEL = 6

_SHORTEST_S = 0.001


Answer = TypeVar("Answer")


class Reached(NamedTuple):
    """Somebody answered, and TLS is as it should be.

    Attributes:
        status: of the answer, whatever it is.
        date: the answer's own, as HTTP writes it; empty without one.
    """

    status: int
    date: str


class HttpSink:
    """POSTs bodies to one URL.

    Args:
        settings: ``url``, ``proxy``, ``ca_bundle`` and the limits of a request.
        environ: where proxy and certificates are looked up, if the settings leave them open.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._url = settings.url
        self._limits = settings.limits
        self._timeout_s = max(settings.limits.request_deadline_s, _SHORTEST_S)
        self._session = requests.Session()
        # With trust_env, requests would attach credentials from .netrc; proxies are put in by hand.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Without this requests reads the whole answer of a redirect, to be ready to follow it.
        self._session.get_redirect_target = lambda _answer: None  # type: ignore[method-assign,assignment]
        self._session.headers.clear()
        self._session.headers.update(
            {"Content-Type": "application/json", "User-Agent": f"flwr-telemetry/{__version__}"}
        )
        bundle = settings.ca_bundle or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
        bundle = bundle or environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR")
        self._session.verify = bundle or True
        self._zips = False
        """Whether the collector has said that it takes compressed bodies (RFC 7694)."""
        if settings.proxy is not None:
            self._session.proxies = {"http": settings.proxy, "https": settings.proxy}
        else:
            self._session.proxies = _proxies(self._url, environ)

    @property
    def proxy(self) -> str | None:
        """The proxy that requests go through; None without one."""
        found: str | None = requests.utils.select_proxy(self._url, self._session.proxies)
        return found

    def send(self, key: str, body: bytes) -> Outcome:
        """POST one body."""
        return self._within_deadline(lambda: self._post(key, body))

    def reach(self) -> Reached | Retry:
        """Ask for the headers of the URL, which sends no event; any answer at all will do."""
        return self._within_deadline(self._head)

    def _within_deadline(self, request: Callable[[], Answer]) -> Answer | Retry:
        try:
            with deadline(self._limits.request_deadline_s):
                return request()
        except Exception as error:  # noqa: BLE001 - whatever a library raises about the world is an outcome
            self._session.close()  # what is left of the connection may belong to this answer
            bundle = self._session.verify
            if isinstance(bundle, str) and not os.access(bundle, os.R_OK):
                return Retry("the certificates that ca_bundle or the environment names cannot be read")
            return Retry(word_for(error))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _head(self) -> Reached:
        with self._request("HEAD") as answer:
            return Reached(answer.status_code, answer.headers.get("Date", ""))

    def _request(self, method: str, **what: Any) -> requests.Response:
        return self._session.request(
            method,
            self._url,
            allow_redirects=False,
            stream=True,
            timeout=(max(self._limits.connect_timeout_s, _SHORTEST_S), self._timeout_s),
            **what,
        )

    def _post(self, key: str, body: bytes) -> Outcome:
        headers = {"Idempotency-Key": key}
        zips = self._zips and len(body) >= _WORTH_ZIPPING_BYTES
        if zips:
            headers["Content-Encoding"] = "gzip"
        data = gzip.compress(body, _ZIP_LEVEL, mtime=0) if zips else body
        with self._request("POST", data=data, headers=headers) as answer:
            # The status alone decides; what follows is for the reason of a refusal.
            text = _beginning(answer)
            self._zips = takes_gzip(answer.headers.get("Accept-Encoding", ""))
            outcome = outcome_of(answer.status_code, answer.headers, text, datetime.now(UTC))
        if zips and isinstance(outcome, Refused):
            self._zips = False  # it may be how the body came; only a word about the body itself may cost it
            return self._post(key, body)
        return outcome


def takes_gzip(accepted: str) -> bool:
    """Whether the ``Accept-Encoding`` of an answer names gzip, and not to refuse it."""
    for word in accepted.lower().split(","):
        coding, _, weight = word.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


def _proxies(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies that the environment names for ``url``; none for what it exempts."""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY")
    if requests.utils.should_bypass_proxies(url, no_proxy=exempt or ""):
        return {}
    names = ("http_proxy", "https_proxy", "all_proxy")
    found = {name.partition("_")[0]: environ.get(name) or environ.get(name.upper()) for name in names}
    return {scheme: proxy for scheme, proxy in found.items() if proxy}


def _beginning(answer: requests.Response) -> str:
    """What can be had of an answer's body; leaving the rest unread closes the connection.

    It is taken as it comes and never unpacked: some kilobytes can be made to unpack to gigabytes. A body
    that is cut or garbled says nothing against the status. One that does not end within the deadline is no
    answer yet.
    """
    text = b""
    with contextlib.suppress(OSError, ValueError, urllib3.exceptions.HTTPError):
        text = answer.raw.read(MAX_ANSWER_BYTES, decode_content=False)
    return text.decode("utf-8", "replace")
