"""The offset of a file: how much of it was relayed, in ``<name>.relayed`` beside it.

    {"offset": 7340032, "line": 512, "members": 0, "check": "<hex>"}

``check`` is the SHA-256 of the first and the last ``EDGE_BYTES`` before ``offset``. It differs if another
file has the name now. The text has a fixed width and is overwritten in place, so a death leaves the old or
the new offset.

One relay at a time holds the lock of the offset file. Where locks do not work, two relays may run at once and
send a body twice, under the same key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import lock_descriptor

from flwr_telemetry import files, system

from ...errors import AnotherRelayError, NoOffsetError

SUFFIX = ".relayed"
EDGE_BYTES = 64 * 1024
SYNC_EVERY_S = 1.0

_WIDTH = 256


class Place(NamedTuple):
    """A place in a file; everything before it was relayed."""

    offset: int = 0
    """In bytes; the beginning of a line."""

    line: int = 0
    """The number of lines before it."""

    members: int = 0
    """The number of events of the next line that were relayed, if that line is a refused burst."""


class OffsetFile:
    """The offset file of one file, open and locked."""

    def __init__(self, path: Path, descriptor: int, file: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._file = file
        self._synced_at = time.monotonic()
        saved, check = self._read()
        is_same_file = check == self._check(saved.offset)
        self.place = saved if is_same_file else Place()
        """The place that was saved last; the beginning of the file if another file has the name now."""
        self.from_start = not is_same_file
        """Whether another file has the name now."""

    def save(self, place: Place) -> None:
        """Save a place, so that it outlives this process; a power failure may cost the last ``SYNC_EVERY_S``.

        Raises:
            NoOffsetError: the disk is full, for example. The file holds the old or the new place then.
        """
        text = json.dumps({**place._asdict(), "check": self._check(place.offset)})
        is_new = not os.fstat(self._descriptor).st_size
        with _errors_named(self._path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            files.write_all(self._descriptor, text.encode().ljust(_WIDTH - 1) + b"\n")
        self.place = place
        if is_new or time.monotonic() - self._synced_at >= SYNC_EVERY_S:
            self.sync()
        if is_new:
            system.fsync_directory(self._path.parent)

    def sync(self) -> None:
        """Force the place to the disk; raises as ``save``."""
        with _errors_named(self._path):
            system.fsync(self._descriptor)
        self._synced_at = time.monotonic()

    def _read(self) -> tuple[Place, str]:
        text = system.pread(self._descriptor, _WIDTH, 0)
        if not text:
            return Place(), ""
        try:
            saved = json.loads(text)
            place, check = Place(*(saved[name] for name in Place._fields)), saved["check"]
            if [*map(type, place)] == [int, int, int] and min(place) >= 0 and type(check) is str:
                return place, check
        except (ValueError, TypeError, LookupError):
            pass
        raise NoOffsetError(f"{self._path} is not the offset file of a relay; move it away")

    def _check(self, offset_bytes: int) -> str:
        edge = min(offset_bytes, EDGE_BYTES)
        edges = system.pread(self._file, edge, 0) + system.pread(self._file, edge, offset_bytes - edge)
        return hashlib.sha256(edges).hexdigest() if offset_bytes else ""


@contextlib.contextmanager
def held(path: Path, file: int) -> Iterator[OffsetFile]:
    """The offset file of a file, created if there is none, and locked as long as the block lasts.

    Args:
        path: the file that is relayed.
        file: a descriptor of it.

    Raises:
        AnotherRelayError: another relay holds the lock.
        NoOffsetError, TelemetryError: the offset file holds something else, or cannot be created.
    """
    path = path.with_name(path.name + SUFFIX)
    with _errors_named(path):
        descriptor = files.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        if _is_busy(descriptor):
            raise AnotherRelayError(f"another relay is running: {path} is locked")
        offset_file = OffsetFile(path, descriptor, file)
        yield offset_file
        offset_file.sync()
    finally:
        os.close(descriptor)


def _is_busy(descriptor: int) -> bool:
    """Whether another relay holds the lock. A shared file system is asked, too; it may never answer."""
    try:
        return not lock_descriptor(descriptor, blocking=False)
    except OSError:
        return False


@contextlib.contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoOffsetError(
            f"{path} cannot be written: {error.strerror}; copy the file to your own directory, and relay it"
        ) from error
