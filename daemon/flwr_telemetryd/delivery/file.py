"""A file as the collector, for machines without a network: ``url = "file:///…"``. One body a line, as JSON.

The sidecars of several hosts may append to one file. Over NFS, each client appends at the end that it last
saw, and would overwrite newer lines. A claim prevents this; see ``append_line``. A body counts as delivered
after it is on the disk.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from flwr_telemetry import system
from flwr_telemetry.errors import TelemetryError

from ..outbox.archive import append_line
from .outcome import Delivered, Outcome, Retry

USER_PLACE = "%u"
"""Stands for the user in the address of a site, so that each user has a file."""


def path_of(url: str) -> Path:
    """The file that ``file:///…`` names."""
    path = system.local_path(unquote(urlsplit(url).path))
    if USER_PLACE in path:
        name, _ = system.account()
        path = path.replace(USER_PLACE, name or system.user_id())  # a container may not know this user
    return Path(path)


class FileSink:
    """Appends every body as one line.

    Args:
        url: ``file:///absolute/path``, where ``%u`` stands for the user; the directory must exist.
    """

    def __init__(self, url: str) -> None:
        self._path = path_of(url)

    def send(self, _key: str, body: bytes) -> Outcome:
        """Append the body. The key is not written, because it is the SHA-256 of the line."""
        try:
            append_line(self._path, body, across_hosts=True)
        except TelemetryError as error:
            return Retry(str(error))
        except OSError as error:
            return Retry(f"{self._path}: {error.strerror}")
        return Delivered()

    def close(self) -> None:
        """Do nothing, because no file stays open between two bodies."""
