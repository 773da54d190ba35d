"""What is no record, no segment or no body is kept aside in ``damaged/``, for a look, and counted.

Nothing that lies there is ever sent, and nothing may fail because it could not be put there: the events
around the damage are worth more than a look at it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import SEGMENT_SUFFIX, HostPaths

log = logging.getLogger("flwr_telemetryd")


NO_FILE_OF_OURS = (TelemetryError, PermissionError, IsADirectoryError)
"""What says, when a file is read, that something else stands in its place."""


def quarantine(host: HostPaths, path: Path) -> None:
    """Move a file to where nothing tries to send it."""
    files.ensure_directory(host.damaged)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, host.damaged / path.name)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def is_segment(host: HostPaths, segment: Path) -> bool:
    """Whether a segment is a file of ours; something else in its place is set aside, for a look."""
    try:
        os.close(files.open_file(segment, os.O_RDONLY))
    except (TelemetryError, PermissionError) as error:
        log.warning("%s is set aside in %s: %s", segment.name, host.damaged, error)
    else:
        return True
    quarantine(host, segment)
    return False


class DamageWriter:
    """Keeps the damage of one segment, for a look; a batch that begins again begins this again too."""

    def __init__(self, host: HostPaths, segment: str) -> None:
        self._host = host
        self._path = host.damaged / f"{segment.removesuffix(SEGMENT_SUFFIX)}.bin"
        self._fresh = True

    def keep(self, data: bytes) -> None:
        """Keep the next run of bytes."""
        try:
            files.ensure_directory(self._host.damaged)
            if self._fresh:
                self._path.unlink(missing_ok=True)
                self._fresh = False
            files.append_bytes(self._path, data)
        except (OSError, TelemetryError) as error:
            log.warning("%d damaged bytes of %s are not kept: %s", len(data), self._path.name, error)
