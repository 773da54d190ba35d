"""Where bodies go: one method, ``send``, behind which every outside world stands."""

from __future__ import annotations

import os

from flwr_telemetry.settings import Settings

from .base import Sink


def open_sink(settings: Settings) -> Sink:
    """The sink that the settings name."""
    if settings.url.startswith("file:"):
        from .file import FileSink

        return FileSink(settings.url)
    from .http import HttpSink

    return HttpSink(settings, os.environ)
