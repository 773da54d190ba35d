"""Segments, as the sidecar sees them: seal the open one, tell their names, read them.

A sealed segment is called ``sealed-<unix ns>-<hex>.msgpack``. One that was sealed and not touched since
has eight random digits in ``<hex>``. One of which a part is delivered already has twenty-four: eight
random ones, eight for the offset from which it is to be read, eight for the CRC-32 of these sixteen, so
that no other name is taken for one of those by chance.

Races, continued from ``spool.py``:

6. Two sidecars seal at once (where locks do not work): one rename succeeds, the other finds nothing.
7. A stopped writer holds the lock shared: the sealer waits ``SEAL_WAIT_S`` and renames without it.

This room must never delete anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.layout import SEALED_PREFIX, SEGMENT_SUFFIX, HostPaths

from .directory import listing
from .locks import sealer_lock

CHUNK_BYTES = 256 * 1024


_HEX = 8


def seal(host: HostPaths, now_ns: int) -> Path | None:
    """Rename the open segment, so that nothing more is appended to it; the sealed path, None if it is empty.

    Args:
        host: whose spool.
        now_ns: nanoseconds since the epoch, for the name: segments are taken in the order of their names.
    """
    try:
        descriptor = files.open_file(host.events, os.O_RDWR)
    except FileNotFoundError:
        return None
    sealed = host.spool / sealed_name(now_ns)
    try:
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            if os.fstat(descriptor).st_size == 0:
                return None
            with sealer_lock(descriptor):
                os.rename(host.events, sealed)
                return sealed
        return None  # another sidecar was first
    finally:
        os.close(descriptor)


def sealed_name(now_ns: int, offset_bytes: int = 0) -> str:
    """A new name for a sealed segment that is to be read from ``offset_bytes`` on."""
    digits = secrets.token_hex(_HEX // 2)
    if offset_bytes:
        digits += f"{offset_bytes:0{_HEX}x}"
        digits += f"{zlib.crc32(digits.encode()):0{_HEX}x}"
    return f"{SEALED_PREFIX}{max(now_ns, 0):019d}-{digits}{SEGMENT_SUFFIX}"


def start_offset(name: str) -> int:
    """From which byte on a sealed segment of this name is to be read."""
    digits = name.removesuffix(SEGMENT_SUFFIX).rpartition("-")[2]
    if re.fullmatch(f"[0-9a-f]{{{3 * _HEX}}}", digits) is None:
        return 0
    told, check = digits[: 2 * _HEX], digits[2 * _HEX :]
    if check != f"{zlib.crc32(told.encode()):0{_HEX}x}":
        return 0
    return int(told[_HEX:], 16)


def sealed_segments(host: HostPaths) -> list[Path]:
    """Sealed segments that no batch has taken, oldest first."""
    return [path for path in listing(host.spool) if is_sealed(path.name)]


def is_sealed(name: str) -> bool:
    """Whether a file of this name is a sealed segment."""
    return name.startswith(SEALED_PREFIX) and name.endswith(SEGMENT_SUFFIX)


def chunks(path: Path, offset_bytes: int = 0) -> Iterator[bytes]:
    """The bytes of a segment from ``offset_bytes`` on, in pieces of at most ``CHUNK_BYTES``."""
    descriptor = files.open_file(path, os.O_RDONLY)
    try:
        with files.estale_as_missing():
            yield from chunks_of(descriptor, offset_bytes)
    finally:
        os.close(descriptor)


def chunks_of(descriptor: int, offset_bytes: int) -> Iterator[bytes]:
    """The same of an open segment."""
    while data := os.pread(descriptor, CHUNK_BYTES, offset_bytes):
        offset_bytes += len(data)
        yield data


def remove(descriptor: int, path: Path) -> None:
    """Unlink a segment whose lock we hold, and mark it: see ``files.TOMBSTONE_MODE``."""
    mark_tombstone(descriptor)
    path.unlink()


def mark_tombstone(descriptor: int) -> None:
    """Have writers leave this file, although its name, or their memory of it, may last a little longer."""
    with contextlib.suppress(OSError):  # where modes cannot be changed, links alone must tell
        os.fchmod(descriptor, files.FILE_MODE | files.TOMBSTONE_MODE)
