"""A collector that speaks OTLP gets a request without a record, and its answer is explained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from flwr_telemetry.settings import DEFAULT_URL, Settings

from ...clock import Clock
from ...delivery.http import Answered
from ...delivery.otlp_sink import OtlpSink
from ...delivery.outcome import Retry
from . import collector
from .check import Check, fault, note

_GRPC_PORT = 4317
_GRPC = ("grpc", "http/2", "http2", "preface")
"""Words of an answer that a port of gRPC gives to HTTP/1.1."""
_USE_HTTP = (
    "OTLP over HTTP usually has port 4318: run `flwr-telemetry config set url https://HOST:4318/v1/logs`"
)

_ADVICE = {
    401: ("it wants other credentials", "put the header that it wants into headers_file"),
    403: ("it does not permit this", "check the header in headers_file, and the rights of its user"),
    405: ("nothing there takes a POST", "check the path of url; the usual one is /v1/logs"),
    407: ("the proxy refuses", "give its user and password in proxy"),
    415: ("it takes no JSON", "let its OTLP receiver accept application/json, or send to another one"),
}


def variables(environ: Mapping[str, str]) -> Iterator[Check]:
    """Tell of the variables of OpenTelemetry, by their names alone, because a value may be a secret."""
    if names := sorted(name for name in environ if name.startswith("OTEL_")):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found = f"{names[0]}{more} is not obeyed: where events go is a setting of the home"
        yield note("OpenTelemetry", found, "set format and url, if events are to go to your own collector")


def check(sink: OtlpSink, now: Settings, clock: Clock) -> Check:
    """Send a request without a record, and explain the answer."""
    parts = urlsplit(now.url)
    if now.url == DEFAULT_URL:
        advice = "run `flwr-telemetry config set url URL`"
        return fault("collector", "OTLP needs a collector of your own, and no url names one", advice)
    answered = sink.probe()
    if isinstance(answered, Retry):
        if parts.port == _GRPC_PORT or "gRPC" in answered.reason:
            return fault("collector", f"{parts.netloc}: {answered.reason}; 4317 is for gRPC", _USE_HTTP)
        return collector.unreached(now, answered)
    return _explained(answered, now, clock)


def _explained(answered: Answered, now: Settings, clock: Clock) -> Check:
    parts, status = urlsplit(now.url), answered.status
    answer = f"{parts.netloc} answers {status}"
    kind = answered.headers.get("Content-Type", "")
    if status != 200 and any(word in f"{kind} {answered.text}".lower() for word in _GRPC):  # noqa: PLR2004
        return fault("collector", f"{answer}, as a port of gRPC does", _USE_HTTP)
    if "HTTPS server" in answered.text:
        return fault("collector", f"{answer}: it speaks TLS", "write https:// in url")
    if status == 404:  # noqa: PLR2004
        found = f"{answer}: there is nothing at {parts.path or '/'}"
        has_path = parts.path not in {"", "/"}
        advice = "check the path of url" if has_path else "url lacks the path"
        return fault("collector", found, f"{advice}; the usual one is /v1/logs")
    if status in _ADVICE:
        found, advice = _ADVICE[status]
        return fault("collector", f"{answer}: {found}", advice)
    if not 200 <= status < 300:  # noqa: PLR2004
        found = f"{answer} to a request without a record"
        return note("collector", found, "see the last error in `flwr-telemetry status` after the next event")
    if not _is_of_otlp(answered):
        found = f"{answer} with something that is not OTLP's ({kind or 'no content type'})"
        return note("collector", found, "check url: another program may answer there, a portal for example")
    return collector.answers(now, answered.headers.get("Date", ""), clock)


def _is_of_otlp(answered: Answered) -> bool:
    """Whether an answer of success may be that of an OTLP collector."""
    if not answered.text or "protobuf" in answered.headers.get("Content-Type", ""):
        return True
    try:
        return isinstance(json.loads(answered.text), dict)
    except (ValueError, RecursionError):
        return False
