"""The answer of a collector, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from flwr_telemetry import files
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...delivery import proxies
from ...delivery.http import Reached
from ...delivery.outcome import Retry
from .check import Check, Verdict, fault, note, ok

_CLOCK_NOTE_S = 300.0
_PROXY_REFUSES = 407
_EXPECTED = frozenset({*range(200, 300), 400, 405, 411, 415, 422, 501})
"""Answers to a request for headers alone by a server that accepts events."""


def check(now: Settings, reached: Reached | Retry, clock: Clock) -> Check:
    """Explain the answer to a request for headers alone."""
    host, secure = urlsplit(now.url).netloc, security(now)
    if isinstance(reached, Retry):
        return unreached(now, reached)
    if reached.status == _PROXY_REFUSES:
        return fault("collector", "the proxy refuses (407)", "give its user and password in proxy")
    if reached.status not in _EXPECTED:
        found = f"{host} answers {reached.status} ({secure}); no event was sent, so this may mean nothing"
        return note("collector", found, "see the last error in `flwr-telemetry status` after the next event")
    return answers(now, reached.date, clock)


def security(now: Settings) -> str:
    """How safe the way to the collector is, in words."""
    if now.url.lower().startswith("https:"):
        return "TLS and its certificate are fine"
    is_local = proxies.is_loopback(urlsplit(now.url).hostname or "")
    return "no TLS, on loopback" if is_local else "unencrypted, as plaintext says"


def unreached(now: Settings, reached: Retry) -> Check:
    """The collector has not answered."""
    return fault(
        "collector",
        f"{urlsplit(now.url).netloc}: {reached.reason}",
        f"events are kept for {now.limits.spool_max_days:g} days; for another way to the collector, "
        "set proxy, ca_bundle or url by `flwr-telemetry config set`",
    )


def answers(now: Settings, date: str, clock: Clock) -> Check:
    """The collector has answered as it should, at a date of its own."""
    host, secure = urlsplit(now.url).netloc, security(now)
    ahead_s = _ahead_s(date, clock.now())
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
