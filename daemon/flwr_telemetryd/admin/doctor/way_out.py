"""Checks of the way to the collector: the proxy, its name, the certificates to trust, and its answer.

The collector gets a request for headers alone (HEAD), sent as a body would be: through the same proxy, with
the same certificates and the same deadline. No event is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...delivery import proxies, trust
from ...delivery.file import path_of
from ...delivery.http import HttpSink, Reached
from ...delivery.outcome import Retry
from ...errors import describe
from .check import Check, Verdict, fault, note, ok

_CLOCK_NOTE_S = 300.0
_PROXY_REFUSES = 407
_OF_ANOTHER = "a sidecar has the environment of the process which started it"
_EXPECTED = frozenset({*range(200, 300), 400, 405, 411, 415, 422, 501})
"""Answers to a request for headers alone by a server that accepts events."""


def check(now: Settings, environ: Mapping[str, str], clock: Clock) -> Iterator[Check]:
    """Check proxy, name, certificates and collector; the first fault ends the checks. Telemetry is on."""
    if now.url.lower().startswith("file:"):
        yield _file(now.url)
        return
    with contextlib.closing(HttpSink(now, environ)) as sink:
        found = _proxy(now, sink.proxy)
        yield found
        if found.verdict is not Verdict.FAULT and sink.proxy is None:
            found = _name(now.url)
            yield found
        if found.verdict is not Verdict.FAULT and now.url.lower().startswith("https:"):
            found = _certificates(sink.trust, environ)
            yield found
        if found.verdict is not Verdict.FAULT:
            yield _collector(now, sink.reach(), clock)


def _file(url: str) -> Check:
    path = path_of(url)
    try:
        with contextlib.suppress(FileNotFoundError):
            files.check_file(path)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "it cannot be written to", str(path))
    except (OSError, TelemetryError) as error:
        return fault("collector", describe(error, path), "make its directory, or set another url")
    return ok("collector", f"bodies are appended to {path}; nothing leaves this machine")


def _proxy(now: Settings, proxy: proxies.Proxy | None) -> Check:
    if proxy is None:
        is_local = proxies.is_loopback(urlsplit(now.url).hostname or "")
        return ok("proxy", "none, because the collector is on this machine" if is_local else "none")
    if problem := proxies.problem(proxy):
        return fault("proxy", *problem)
    if proxy.origin == proxies.SETTING:
        return ok("proxy", f"{proxy.shown}, by the settings")
    found = f"{proxy.shown}, by {proxy.origin}; {_OF_ANOTHER}"
    return note("proxy", found, "to be sure, run `flwr-telemetry config set proxy http://host:port`")


def _certificates(chosen: trust.Trust, environ: Mapping[str, str]) -> Check:
    """Which certificates are trusted, and where they come from."""
    if not chosen.is_exclusive:
        places = " and ".join(trust.places(environ))
        return ok("certificates", f"those of this system, in {places}, and those of the package certifi")
    by = "the settings" if chosen.origin == "ca_bundle" else chosen.origin
    found = f"only those in {chosen.bundle}, by {by}"
    remedy = (
        "run `flwr-telemetry config set ca_bundle FILE`"
        if by == "the settings"
        else f"unset {by}, or set ca_bundle"
    )
    try:
        chosen.context()
    except trust.BundleError as error:
        return fault("certificates", f"{found}: {error}", f"{remedy} to a file in PEM")
    return (
        ok("certificates", found) if by == "the settings" else note("certificates", f"{found}; {_OF_ANOTHER}")
    )


def _name(url: str) -> Check:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        found = {item[4][0] for item in socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no host name"
        advice = (
            "check this machine's name resolution; if it has none, run `flwr-telemetry config set proxy URL`"
        )
        return fault("name", f"{host} cannot be looked up: {why}", advice)
    return ok("name", f"{host} is {min(map(str, found))}")


def _collector(now: Settings, reached: Reached | Retry, clock: Clock) -> Check:
    host = urlsplit(now.url).netloc
    secure = (
        "TLS and its certificate are fine" if now.url.lower().startswith("https:") else "no TLS, on loopback"
    )
    if isinstance(reached, Retry):
        return fault(
            "collector",
            f"{host}: {reached.reason}",
            f"events are kept for {now.limits.spool_max_days:g} days; for another way to the collector, "
            "set proxy, ca_bundle or url by `flwr-telemetry config set`",
        )
    if reached.status == _PROXY_REFUSES:
        return fault("collector", "the proxy refuses (407)", "give its user and password in proxy")
    if reached.status not in _EXPECTED:
        found = f"{host} answers {reached.status} ({secure}); no event was sent, so this may mean nothing"
        return note("collector", found, "see the last error in `flwr-telemetry status` after the next event")
    ahead_s = _ahead_s(reached.date, clock.now())
    if abs(ahead_s) > _CLOCK_NOTE_S:
        verdict = Verdict.FAULT if abs(ahead_s) > files.SKEW_S else Verdict.NOTE
        where = "ahead of" if ahead_s > 0 else "behind"
        found = f"{host} answers ({secure}); this machine's clock is {abs(ahead_s):.0f} s {where} its clock"
        return Check("collector", verdict, found, "set this machine's clock by NTP")
    return ok("collector", f"{host} answers ({secure}); no event was sent")


def _ahead_s(date: str, now: datetime) -> float:
    """How far our clock is ahead of an HTTP date, in seconds; 0 without a valid date."""
    try:
        theirs = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return 0.0
    return (now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))).total_seconds()
