"""JSON lines: the record of what was sent, and the files that ``url = "file:///…"`` names.

    sent/<YYYY-MM-DD>.jsonl    every body that a collector accepted, one a line

There is one reader and one appender of such lines. An appender holds the file's lock, so the lines that are
there while the lock is free are whole. The lock also makes a network file system show what other hosts wrote.

This module must never hold more of a file in memory than one line, and never delete anything.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry import files
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult, unlock, wait, wait_shared

from ..burst import codec
from ..spool.directory import listing
from ..spool.locks import SEAL_WAIT_S, try_exclusive

if sys.platform != "win32":
    pass

ARCHIVE_SUFFIX = ".jsonl"

MAX_LINE_BYTES = 2 * codec.MAX_BODY_BYTES
"""A longer line is no body."""

LOCK_WAIT_S = 5.0
"""The longest wait for the lock of a file that several hosts share, in seconds."""

_POLL_S = 0.01
_TRIES = 100


class Line(NamedTuple):
    """A line of a file."""

    data: bytes | None
    """The line without its end; None if it is longer than any body can be."""

    end: int
    """The offset of the next line, in bytes."""


def lines(file: io.BufferedReader, offset_bytes: int = 0, end_bytes: int = sys.maxsize) -> Iterator[Line]:
    """The lines between two offsets; a last line that has no end yet is left out.

    Args:
        file: an open file.
        offset_bytes: where the first line begins.
        end_bytes: nothing behind this offset is read.
    """
    end = file.seek(offset_bytes)
    begun = 0  # bytes of the current line that are read already
    while data := file.readline(min(MAX_LINE_BYTES, end_bytes - end - begun)):
        begun += len(data)
        if data.endswith(b"\n"):
            end += begun
            yield Line(data[:-1] if begun == len(data) else None, end)
            begun = 0


def written_bytes(file: io.BufferedReader) -> int:
    """The length of a file, looked at under its lock, so that no appender is amid a line.

    After ``LOCK_WAIT_S``, and where locks do not work, the length is taken as it is.
    """
    with contextlib.suppress(OSError):
        wait_shared(file.fileno(), LOCK_WAIT_S, _POLL_S)
    try:
        return os.fstat(file.fileno()).st_size
    finally:
        unlock(file.fileno())


def append_line(path: Path, line: bytes, *, across_hosts: bool = False) -> None:
    """Append a line under the file's lock. A line that a full disk or a death tore stays a line of its own.

    Args:
        path: the file, created if need be.
        line: without its end.
        across_hosts: for a file to which several hosts deliver. The line is on the disk on return, and a lock
            that stays busy is an error. Otherwise a process that was stopped while it held the lock must not
            stop the record: ``O_APPEND`` keeps the lines of one host apart without it.

    Raises:
        SpoolUnsafeError: it is no plain file of ours.
        OSError: the system's refusal; EAGAIN if the lock stays busy.
    """
    for _ in range(_TRIES):
        descriptor = files.open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            result = wait(try_exclusive, descriptor, LOCK_WAIT_S if across_hosts else SEAL_WAIT_S, _POLL_S)
            if result is LockResult.BUSY and across_hosts:
                break
            if not files.names(path, descriptor):
                continue  # a rotation or a cap replaced it; its reader may have seen its end already
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            files.write_all(descriptor, line + b"\n")
            if across_hosts:
                os.fsync(descriptor)
            return
        finally:
            os.close(descriptor)
    raise BlockingIOError(errno.EAGAIN, "locked or replaced by another process", str(path))


def archive(host: HostPaths, body: bytes, now: datetime) -> None:
    """Record a body that a collector accepted.

    Args:
        host: the host whose record it is.
        body: the body, byte for byte.
        now: in UTC; the day decides on the file.
    """
    files.ensure_directory(host.sent)
    append_line(host.sent / f"{now:%Y-%m-%d}{ARCHIVE_SUFFIX}", body)


def archive_files(host: HostPaths) -> list[Path]:
    """The files of what was sent, by day."""
    return [path for path in listing(host.sent) if path.name.endswith(ARCHIVE_SUFFIX)]


def read_archive(path: Path, offset_bytes: int = 0) -> Iterator[tuple[bytes, int]]:
    """The bodies in one day's archive, each with the offset at which its line ends.

    A line that is still being written is not given, nor is one longer than any body can be.
    """
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:
        for line in lines(file, offset_bytes):
            if line.data is not None:
                yield line.data, line.end
