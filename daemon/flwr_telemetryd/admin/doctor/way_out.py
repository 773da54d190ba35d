"""Checks of the way to the collector: the proxy, its name, the certificates to trust, and its answer.

The collector gets a request for headers alone (HEAD). It takes the way of a body: the same proxy, the same
certificates and the same deadline. No event is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...delivery import is_file, proxies, trust
from ...delivery.file import path_of
from ...delivery.http import HttpSink
from ...delivery.otlp_sink import OtlpSink
from ...errors import describe
from . import collector, otlp
from .check import Check, Verdict, fault, note, ok

_OF_ANOTHER = "a sidecar has the environment of the process which started it"


def check(now: Settings, environ: Mapping[str, str], clock: Clock) -> Iterator[Check]:
    """Check proxy, name, certificates and collector; the first fault ends the checks. Telemetry is on."""
    if is_file(now.url):
        yield _file(now.url)
        return
    kind = OtlpSink if now.format == "otlp" else HttpSink
    with contextlib.closing(kind(now, environ)) as sink:
        found = _proxy(now, sink.proxy)
        yield found
        if found.verdict is not Verdict.FAULT and sink.proxy is None:
            found = _name(now.url)
            yield found
        if found.verdict is not Verdict.FAULT and now.url.lower().startswith("https:"):
            found = _certificates(sink.trust, environ)
            yield found
        if found.verdict is Verdict.FAULT:
            return
        if isinstance(sink, OtlpSink):
            yield otlp.check(sink, now, clock)
        else:
            yield collector.check(now, sink.reach(), clock)


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
