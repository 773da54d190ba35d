"""A file that takes bodies as JSON lines, for machines without a network: ``url = "file:///…"``.

Sidecars of several hosts may append to one file. On a network file system each of them appends where it last
saw the end, over what another one wrote since; the file's lock keeps them apart, and makes that end known.
A body is on the disk before it counts as delivered. Where locks do not work, one host must write alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.locks import LockResult, wait

from ..locks import try_exclusive
from .base import Delivered, Outcome, Retry

LOCK_WAIT_S = 5.0
_POLL_S = 0.01


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
            return self._append(body)
        except TelemetryError as error:
            return Retry(str(error))
        except OSError as error:
            return Retry(f"{self._path}: {error.strerror}")

    def _append(self, body: bytes) -> Outcome:
        descriptor = files.open_file(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            if wait(try_exclusive, descriptor, LOCK_WAIT_S, _POLL_S) is LockResult.BUSY:
                return Retry(f"{self._path} is locked by another process")
            if not os.path.samestat(os.lstat(self._path), os.fstat(descriptor)):
                return Retry(f"{self._path} was replaced meanwhile")
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                body = b"\n" + body  # a line that was torn by a full disk or a death stays one of its own
            files.write_all(descriptor, body + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return Delivered()

    def close(self) -> None:
        """Nothing is held open between two bodies."""
