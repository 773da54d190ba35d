"""A body goes to a collector; the answer becomes a decision, and a failure becomes a wait.

In:    bodies that wait in the outbox, and the settings that name the collector.
Out:   an outcome for each request: delivered, refused, or to be tried again.
Owns:  ``<host>/not-before``, and the file that ``url = "file:///…"`` names.
Never: follows a redirect, sends cookies or credentials, raises because of the network, or writes an event.

``responses.py`` maps an answer to an outcome. ``retry_after.py`` and ``backoff.py`` tell when to try again.
``uploader.py`` delivers the bodies of a host, the oldest first.
"""

from __future__ import annotations

import os

from flwr_telemetry.settings import Settings

from .outcome import Sink

__all__ = ["backoff", "deadline", "faults", "http", "open_sink", "outcome", "retry_after", "uploader"]


def open_sink(settings: Settings) -> Sink:
    """The sink that the settings name."""
    if settings.url.startswith("file:"):
        from .file import FileSink

        return FileSink(settings.url)
    from .http import HttpSink

    return HttpSink(settings, os.environ)
