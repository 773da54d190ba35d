"""A body goes to a collector. The answer becomes a decision, and a failure becomes a wait.

In:    bodies that wait in the outbox, and the settings that name the collector.
Out:   an outcome for each request: ``Delivered``, ``Refused`` or ``Retry``.
Owns:  ``<host>/not-before``, and the file that ``url = "file:///…"`` names.
Never: follows a redirect, sends cookies or credentials, or raises because of the network.

``uploader.py`` sends the bodies of a host, the oldest batch first, through ``http.py`` or ``file.py``.
``http.py`` has its connections, certificates and proxies from ``connection``, ``trust`` and ``proxies``.
``otlp_sink.py`` sends them in the form that ``otlp.py`` gives them. ``credentials.py`` reads its headers.
``responses.py`` maps an answer to an outcome, and ``reasons.py`` an exception to a sentence.
``backoff.py`` and ``retry_after.py`` decide when to try again. ``faults.py`` does so for local faults.
"""

from __future__ import annotations

import os

from flwr_telemetry.settings import Settings

from .outcome import Sink

__all__ = [
    "backoff",
    "credentials",
    "deadline",
    "faults",
    "file",
    "http",
    "is_file",
    "open_sink",
    "otlp",
    "otlp_sink",
    "outcome",
    "proxies",
    "retry_after",
    "trust",
    "uploader",
]


def is_file(url: str) -> bool:
    """Whether a collector's address is a file; capital letters in ``FILE:`` mean nothing."""
    return url.lower().startswith("file:")


def open_sink(settings: Settings) -> Sink:
    """The sink that ``settings.url`` names."""
    if is_file(settings.url):
        from .file import FileSink

        return FileSink(settings.url)
    if settings.format == "otlp":
        from .otlp_sink import OtlpSink

        return OtlpSink(settings, os.environ)
    from .http import HttpSink

    return HttpSink(settings, os.environ)
