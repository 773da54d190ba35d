"""How far a file was relayed: a small file beside it, ``<name>.relayed``, locked by one relay at a time.

    {"offset": 7340032, "line": 512, "check": "<hex>", "members": 0}

``check`` is the SHA-256 of the first and the last ``EDGE_BYTES`` before ``offset``, so that another file
under the same name is noticed. The text has a fixed width and is overwritten in place by one write: a death
leaves the old or the new offset, and the lock stays with the file.

Where locks do not work, two relays may run at once and send a body twice, under the same key.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.locks import LockResult

from ...errors import AnotherRelayError, NoOffsetError
from ...spool.directory import fsync_directory
from ...spool.locks import try_exclusive

SUFFIX = ".relayed"
EDGE_BYTES = 64 * 1024
SYNC_EVERY_S = 1.0

_WIDTH = 256
_MAX_BYTES = 4 * 1024 * 1024  # a former version noted the archives of every host here


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was relayed."""

    offset: int = 0
    """The lines before it are done; in bytes."""

    line: int = 0
    """The number of these lines."""

    check: str = ""
    """Of the bytes before ``offset``; see ``check_of``."""

    members: int = 0
    """The number of events of the next line that are done: it is a burst that was refused as a whole."""


def check_of(descriptor: int, offset_bytes: int) -> str:
    """A checksum that differs between files whose bytes before ``offset_bytes`` differ at either edge."""
    edge = min(offset_bytes, EDGE_BYTES)
    both = os.pread(descriptor, edge, 0) + os.pread(descriptor, edge, offset_bytes - edge)
    return hashlib.sha256(both).hexdigest() if offset_bytes else ""


class OffsetFile:
    """The offset of one file, locked."""

    place: Place | None
    """The place that was saved last; None if nothing was relayed yet."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._synced_at = time.monotonic()
        self.place = self._read()

    def _read(self) -> Place | None:
        text = os.pread(self._descriptor, _MAX_BYTES, 0)
        if not text:
            return None
        try:
            told = json.loads(text.partition(b"\n")[0])
            place = Place(told["offset"], told["line"], told["check"], told.get("members", 0))
            numbers = (place.offset, place.line, place.members)
            if all(type(number) is int and number >= 0 for number in numbers) and type(place.check) is str:
                return place
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise NoOffsetError(f"{self._path} does not tell how far the file was relayed; move it away")

    def save(self, place: Place) -> None:
        """Save a place, so that it outlives this process; a power failure may cost the last ``SYNC_EVERY_S``.

        Raises:
            NoOffsetError: it cannot be written, or not brought to the disk. The file holds either place then.
        """
        text = json.dumps(asdict(place)).encode().ljust(_WIDTH - 1) + b"\n"
        try:
            if os.pwrite(self._descriptor, text, 0) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - as if it had failed
        except OSError as error:
            raise _unwritable(self._path, error) from error
        is_new, self.place = self.place is None, place
        if is_new or time.monotonic() - self._synced_at >= SYNC_EVERY_S:
            self.sync()
        if is_new:
            fsync_directory(self._path.parent)

    def sync(self) -> None:
        """Bring the place to the disk; raises as ``save``."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._synced_at = time.monotonic()


@contextlib.contextmanager
def held(file: Path) -> Iterator[OffsetFile]:
    """The offset of a file, made if there is none, and locked as long as the block lasts.

    Raises:
        AnotherRelayError: another relay holds the lock.
        NoOffsetError, TelemetryError: the file holds something else, or cannot be made.
    """
    path = file.with_name(file.name + SUFFIX)
    try:
        descriptor = files.open_file(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        if try_exclusive(descriptor) is LockResult.BUSY:
            raise AnotherRelayError(f"another relay is at work on it: {path} is locked")
        held = OffsetFile(path, descriptor)
        yield held
        held.sync()
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> NoOffsetError:
    return NoOffsetError(
        f"{path} cannot be written: {error.strerror}; copy the file to a directory of your own and relay that"
    )
