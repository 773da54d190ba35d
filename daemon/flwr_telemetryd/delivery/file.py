"""A file that takes bodies as JSON lines, for machines without a network: ``url = "file:///…"``.

Sidecars of several hosts may append to one file. On a network file system each of them appends where it last
saw the end, over what another one wrote since; the file's lock keeps them apart, and makes that end known.
A body is on the disk before it counts as delivered. Where locks do not work, one host must write alone.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from flwr_telemetry.errors import TelemetryError

from ..outbox.archive import append_line
from .outcome import Delivered, Outcome, Retry


class FileSink:
    """Appends every body as one line.

    Args:
        url: ``file:///absolute/path``; the directory must exist.
    """

    def __init__(self, url: str) -> None:
        self._path = Path(unquote(urlsplit(url).path))

    def send(self, key: str, body: bytes) -> Outcome:
        """Append the body; the key is its SHA-256 and can be told from the line again."""
        del key
        try:
            append_line(self._path, body, across_hosts=True)
        except TelemetryError as error:
            return Retry(str(error))
        except OSError as error:
            return Retry(f"{self._path}: {error.strerror}")
        return Delivered()

    def close(self) -> None:
        """Nothing is held open between two bodies."""
