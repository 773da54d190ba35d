"""The request to delete what a collector has received of a source ID: ``forget --send``.

The collector is first asked, without the ID, whether it deletes at all (``OPTIONS``). Only then does it get
the ID, by ``DELETE``, by the same way as events. The user has asked for that, so it does not matter whether
telemetry is on.

This module never writes a file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from flwr_telemetry.settings import Settings

from ..delivery.http import HttpSink, Reached
from ..delivery.outcome import Retry


@dataclass(frozen=True, slots=True)
class Deletion:
    """The result of the request."""

    host: str
    """Of the collector; empty if events go to a file."""
    done: bool
    """Whether the collector has deleted everything of the ID."""
    supported: bool
    """Whether it deletes at all, as far as is known."""
    reason: str
    """Why it is not done; empty if it is."""


def request_deletion(source_id: str, chosen: Settings, environ: Mapping[str, str]) -> Deletion:
    """Ask the collector of a home to delete a source, and wait for its answer.

    Args:
        source_id: the ID.
        chosen: the settings of the home.
        environ: names the proxy and the certificates if the settings do not.
    """
    parts = urlsplit(chosen.url)
    if parts.scheme.lower() not in {"http", "https"}:
        told = "events go to a file; the machine that relays it knows the collector"
        return Deletion("", done=False, supported=False, reason=told)
    host = parts.hostname or ""
    # The sibling of `…/event`, for example `…/source/<ID>`.
    path = parts.path.rstrip("/").rpartition("/")[0]
    place = urlunsplit((parts.scheme, parts.netloc, f"{path}/source/", "", ""))
    asked = _asked("OPTIONS", place, chosen, environ)
    if isinstance(asked, Retry):
        return Deletion(host, done=False, supported=False, reason=asked.reason)
    allowed = {method.strip().upper() for method in asked.allow.split(",")}
    if "DELETE" not in allowed:
        return Deletion(host, done=False, supported=False, reason="it does not delete by request")
    answer = _asked("DELETE", f"{place}{source_id}", chosen, environ)
    if isinstance(answer, Retry):
        return Deletion(host, done=False, supported=True, reason=answer.reason)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        return Deletion(host, done=False, supported=True, reason=f"it answered {answer.status}")
    return Deletion(host, done=True, supported=True, reason="")


def _asked(method: str, place: str, chosen: Settings, environ: Mapping[str, str]) -> Reached | Retry:
    with contextlib.closing(HttpSink(chosen._replace(url=place), environ)) as sink:
        return sink.reach(method)
