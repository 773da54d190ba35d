"""Keeps damage in ``damaged/``, so that a person can inspect it.

In: bytes of a segment that are no record, or a file that is no segment or body. Nothing in ``damaged/`` is
ever sent. A failure to keep damaged bytes is logged and stops nothing, because the events around them matter
more.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import SEGMENT_SUFFIX, HostPaths

from .directory import remove_if_empty

log = logging.getLogger("flwr_telemetryd")

NOT_OURS_ERRORS = (TelemetryError, PermissionError, IsADirectoryError)
"""Raised by a read if something other than a file of this user stands in the file's place."""


def quarantine(host: HostPaths, path: Path) -> None:
    """Move a file to ``damaged/``, and delete its directory if that is empty then."""
    files.ensure_directory(host.damaged)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, host.damaged / path.name)
    remove_if_empty(path.parent)


@contextlib.contextmanager
def opened_segment(host: HostPaths, segment: Path) -> Iterator[int | None]:
    """A descriptor of a segment, to read it; None if anything but a plain file of this user is in its place.

    That is quarantined.

    Raises:
        FileNotFoundError: the segment is gone.
    """
    try:
        descriptor = files.open_file(segment, os.O_RDONLY)
    except NOT_OURS_ERRORS as error:
        log.warning("%s is quarantined in %s: %s", segment.name, host.damaged, error)
        quarantine(host, segment)
        yield None
        return
    try:
        with files.estale_as_missing():
            yield descriptor
    finally:
        os.close(descriptor)


class DamageWriter:
    """Writes the damage of one segment to a file of its own; a new writer replaces the file of an old one."""

    def __init__(self, host: HostPaths, segment: str) -> None:
        self._host = host
        self._path = host.damaged / f"{segment.removesuffix(SEGMENT_SUFFIX)}.bin"
        self._is_new = True

    def write(self, data: bytes) -> None:
        """Append damaged bytes."""
        try:
            files.ensure_directory(self._host.damaged)
            if self._is_new:
                self._path.unlink(missing_ok=True)
                self._is_new = False
            files.append_bytes(self._path, data)
        except (OSError, TelemetryError) as error:
            log.warning("%d damaged bytes of %s are not kept: %s", len(data), self._path.name, error)
