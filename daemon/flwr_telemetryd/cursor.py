"""How far a file was relayed: a small file beside it, ``<name>.relayed``, held by one relay at a time.

    {"offset": 7340032, "line": 512, "check": "<hex>",
     "handed": {"end": 8388608, "home": "/…/telemetry", "archives": {"<host>": ["2026-11-22.jsonl", 4711]}}}

``offset`` bytes in ``line`` lines are done; ``check`` is the SHA-256 of the first and the last ``EDGE_BYTES``
of these, so that another file under the same name is noticed. ``handed`` is there while what lies between
``offset`` and ``end`` is given to a home: whatever the archives of its hosts hold behind these places went
out since then.

The lock is on the file itself. Its next version is locked before it takes the name, so that the lock goes
with the name. Where locks do not work, two relays may send a body twice, under the same key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.locks import LockResult

from . import segments
from .errors import AnotherRelayError, NoCursorError
from .locks import try_exclusive

SUFFIX = ".relayed"
EDGE_BYTES = 64 * 1024

_MAX_BYTES = 4 * 1024 * 1024  # a home may have thousands of hosts
_TRIES = 100


@dataclass(frozen=True, slots=True)
class Handed:
    """What is being given to a home, and where its archives ended before.

    Attributes:
        end: offset in the file, in bytes.
        home: which; its ``telemetry/``.
        archives: by host, the newest file of its archive, and the size of that in bytes; a host that had none
            is not among them.
    """

    end: int
    home: str
    archives: dict[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was relayed.

    Attributes:
        offset: in bytes.
        line: how many lines lie before it.
        check: of what lies before it; see ``check_of``.
        handed: what is on its way.
    """

    offset: int = 0
    line: int = 0
    check: str = ""
    handed: Handed | None = None


def check_of(descriptor: int, offset_bytes: int) -> str:
    """What tells the beginning of a file, up to an offset, from that of another."""
    edge = min(offset_bytes, EDGE_BYTES)
    both = os.pread(descriptor, edge, 0) + os.pread(descriptor, edge, offset_bytes - edge)
    return hashlib.sha256(both).hexdigest() if offset_bytes else ""


class Cursor:
    """The file, held.

    Attributes:
        path: its path.
        place: what it says; None if nothing was relayed yet.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.place: Place | None = None
        self._descriptor = descriptor

    def read(self) -> Place | None:
        """What the file says; raises as ``held``."""
        text = os.pread(self._descriptor, _MAX_BYTES, 0)
        if not text:
            return None
        try:
            told = json.loads(text)
            handed = told.pop("handed")
            numbers = []
            if handed is not None:
                archives = {host: (str(name), size) for host, (name, size) in handed["archives"].items()}
                handed = Handed(handed["end"], str(handed["home"]), archives)
                numbers = [handed.end, *(size for _, size in archives.values())]
            place = Place(**told, handed=handed)
            numbers += [place.offset, place.line]
            if all(type(number) is int and number >= 0 for number in numbers):
                return place
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            pass
        raise NoCursorError(f"{self.path} does not tell how far the file was relayed; move it away")

    def save(self, place: Place) -> None:
        """Bring a new place to the disk.

        Raises:
            AnotherRelayError: where locks do not work, another relay is at it.
            NoCursorError, TelemetryError: it cannot be written.
        """
        draft = self.path.with_name(f".{self.path.name}{files.PART_SUFFIX}")
        draft.unlink(missing_ok=True)  # of a relay that was killed: nobody else may be here
        try:
            descriptor = files.open_file(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                try_exclusive(descriptor)
                files.write_all(descriptor, json.dumps(asdict(place)).encode() + b"\n")
                os.fsync(descriptor)
                os.rename(draft, self.path)
            except BaseException:
                os.close(descriptor)
                draft.unlink(missing_ok=True)
                raise
        except (FileNotFoundError, FileExistsError) as error:
            raise AnotherRelayError(f"another relay writes {self.path}") from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        os.close(self._descriptor)
        self._descriptor = descriptor
        segments.fsync_directory(self.path.parent)
        self.place = place

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


@contextlib.contextmanager
def held(file: Path) -> Iterator[Cursor]:
    """The cursor of a file, made if there is none, held as long as the block lasts.

    Raises:
        AnotherRelayError: another relay holds it.
        NoCursorError, TelemetryError: what is there is none, or none can be made there.
    """
    path = file.with_name(file.name + SUFFIX)
    cursor = Cursor(path, _lock(path))
    try:
        cursor.place = cursor.read()
        yield cursor
    finally:
        cursor.close()


def _lock(path: Path) -> int:
    for _ in range(_TRIES):
        try:
            descriptor = files.open_file(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _unwritable(path, error) from error
        result = try_exclusive(descriptor)
        if result is not LockResult.BUSY and _is_named(path, descriptor):
            return descriptor
        os.close(descriptor)
        if result is LockResult.BUSY:
            break
        # Else a newer one took its name before we had the lock.
    raise AnotherRelayError(f"another relay is at work on it: {path} is locked")


def _unwritable(path: Path, error: OSError) -> NoCursorError:
    return NoCursorError(
        f"{path} cannot be written: {error.strerror}; copy the file to a directory of your own and relay that"
    )


def _is_named(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    return False
