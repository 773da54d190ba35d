"""Segments, as the sidecar sees them: seals the open one, names the sealed ones, and reads their bytes.

A sealed segment is called ``sealed-<unix ns>-<hex>.msgpack``. ``<hex>`` has one of three forms:

- eight random digits: the segment is read from its beginning;
- 16 random digits: a *whole* segment, which was written before it got this name. Nobody appends to it, so it
  is read and deleted without a lock, and its size is read once;
- 24 digits, if a part of it is delivered already: eight random ones, eight for the offset at which reading
  begins, and eight for the CRC-32 of these sixteen. The checksum keeps a foreign name from being read so.

Races, continued from the emitter's ``spool.py``:

6. Two sidecars seal at once (where locks do not work): one rename succeeds, the other finds nothing.
7. A stopped writer holds the lock shared: the sealer waits ``SEAL_WAIT_S`` and renames without it.

This module deletes a segment only for a caller that has tried for its lock, and only one that has not grown.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files, system
from flwr_telemetry.layout import SEALED_PREFIX, SEGMENT_SUFFIX, HostPaths, is_whole
from flwr_telemetry.locks import LockResult
from flwr_telemetry.spool.whole import LEAST_BYTES

from .directory import entry_names, listing, turn_at
from .locks import sealer_lock

CHUNK_BYTES = 256 * 1024
"""The size of the pieces in which a segment is read."""

_HEX = 8


def seal(host: HostPaths, now_ns: int) -> Path | None:
    """Rename the open segment of a host, so that writers append to a new one.

    Args:
        host: the host.
        now_ns: nanoseconds since the epoch, for the name: segments are taken in the order of their names.

    Returns:
        The sealed segment; None if the open one is empty or missing.
    """
    sealed = host.spool / sealed_name(now_ns)
    # Race 6: if another sidecar was first, the file is gone.
    with (
        contextlib.suppress(FileNotFoundError),
        turn_at(host),
        files.estale_as_missing(),
        files.opened(host.events, system.SEAL_FLAGS) as descriptor,
    ):
        if os.fstat(descriptor).st_size:
            with sealer_lock(descriptor):
                os.rename(host.events, sealed)
                return sealed
    return None


def sealed_name(now_ns: int, offset_bytes: int = 0) -> str:
    """A new name for a sealed segment that is read from ``offset_bytes`` on."""
    digits = os.urandom(_HEX // 2).hex()
    if offset_bytes:
        digits += f"{offset_bytes:0{_HEX}x}"
        digits += _check(digits)
    return f"{SEALED_PREFIX}{max(now_ns, 0):019d}-{digits}{SEGMENT_SUFFIX}"


def start_offset(name: str) -> int:
    """The byte from which a sealed segment of this name is read; 0 unless the name's checksum is right."""
    digits = name.removesuffix(SEGMENT_SUFFIX).rpartition("-")[2]
    if re.fullmatch(f"[0-9a-f]{{{3 * _HEX}}}", digits) is None or digits[2 * _HEX :] != _check(digits):
        return 0
    return int(digits[_HEX : 2 * _HEX], 16)


def _check(digits: str) -> str:
    """The checksum over the random digits and the offset."""
    return f"{zlib.crc32(digits[: 2 * _HEX].encode()):0{_HEX}x}"


def sealed_segments(host: HostPaths) -> list[Path]:
    """The sealed segments that are in no batch, oldest first."""
    with turn_at(host):
        return [path for path in listing(host.spool) if is_sealed(path.name) and system.may_be_taken(path)]


def whole_segments(host: HostPaths) -> list[str]:
    """The names of the whole segments that are in no batch, oldest first."""
    with turn_at(host):
        return list(filter(is_whole, entry_names(host.unsent[0])))


def written_at_ns(whole: str) -> int:
    """When a whole segment got its name, in nanoseconds since the epoch, by the clock of its writer."""
    time_ns = whole.removeprefix(SEALED_PREFIX).partition("-")[0]
    return int(time_ns) if time_ns.isdecimal() else 0


def counted_bytes(name: str, size_bytes: int) -> int:
    """The size for which a segment counts: a whole one is small, but its file costs more than its bytes."""
    return max(size_bytes, LEAST_BYTES) if is_whole(name) else size_bytes


def is_sealed(name: str) -> bool:
    """Whether a file of this name is a sealed segment."""
    return name.startswith(SEALED_PREFIX) and name.endswith(SEGMENT_SUFFIX)


def chunks(path: Path, offset_bytes: int = 0) -> Iterator[bytes]:
    """The bytes of a segment from ``offset_bytes`` on, in pieces of at most ``CHUNK_BYTES``."""
    with files.opened(path, os.O_RDONLY) as descriptor, files.estale_as_missing():
        yield from chunks_of(descriptor, offset_bytes)


def chunks_of(descriptor: int, offset_bytes: int) -> Iterator[bytes]:
    """As ``chunks``, for an open segment."""
    while data := system.pread(descriptor, CHUNK_BYTES, offset_bytes):
        offset_bytes += len(data)
        yield data


def is_removed(descriptor: int, path: Path, end: int, lock: LockResult) -> bool:
    """Mark a segment and unlink it, unless it has grown; whether it is unlinked.

    Without a lock its size is read once more after it was marked. So a writer that appends before that is
    seen here, and one that appends later sees the mark; see ``files.TOMBSTONE_MODE``. A new open makes a
    network file system ask its server for the size.

    Args:
        descriptor: the segment.
        path: its path.
        end: its size as it was read.
        lock: the result of the attempt at its lock.
    """
    if os.fstat(descriptor).st_size > end:
        return False
    mark_tombstone(descriptor)
    if lock is LockResult.UNSUPPORTED:
        with files.opened(path, os.O_RDONLY) as again:
            if os.fstat(again).st_size > end:
                return False
    path.unlink()
    # A network file system may keep a page that ends before a late append, and nobody else reads that append.
    with contextlib.suppress(AttributeError, OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # type: ignore[attr-defined,unused-ignore]
    return True


def mark_tombstone(descriptor: int) -> None:
    """Set the mode bit that tells a writer that this segment is deleted, or soon will be."""
    with contextlib.suppress(OSError):  # where modes cannot be changed, the link count alone tells
        system.set_mode(descriptor, files.FILE_MODE | files.TOMBSTONE_MODE)
