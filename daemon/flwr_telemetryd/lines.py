"""The lines of a file that sidecars deliver into (``url = "file:///…"``), as far as they are written.

Whoever appends holds the file's lock (``sinks/file.py``), so what was there when the lock was free is whole;
on a network file system, asking for it also makes what other hosts wrote visible. Where there are no
locks, a last line without an end tells of itself.

This room must never write, and never hold more of a file in memory than one line.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry.errors import BUSY_ERRNOS

from .errors import NoSuchFileError
from .stages import MAX_LINE_BYTES

if sys.platform != "win32":
    import fcntl

LOCK_WAIT_S = 5.0
_POLL_S = 0.01


class Line(NamedTuple):
    """A line.

    Attributes:
        number: the first one is 1.
        data: without its end; None if it is longer than any body can be.
        end: the offset behind it, in bytes.
    """

    number: int
    data: bytes | None
    end: int


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A plain file, whoever owns it, open for reading.

    Raises:
        NoSuchFileError: there is none that can be read.
    """
    try:
        # Without O_NONBLOCK a FIFO would hold us until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        word = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise NoSuchFileError(f"{path} cannot be read: {word}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoSuchFileError(f"{path} is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def written_bytes(file: io.BufferedReader) -> int:
    """How long a file is, looked at when nobody is amid a line, if that comes to pass within a while."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY_ERRNOS and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            return os.fstat(file.fileno()).st_size
        try:
            return os.fstat(file.fileno()).st_size
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def lines(file: io.BufferedReader, offset_bytes: int, number: int, end_bytes: int) -> Iterator[Line]:
    """The lines between two offsets, but for one that has no end yet.

    Args:
        file: of which file.
        offset_bytes: where the first one begins.
        number: how many come before it.
        end_bytes: what lies behind that is not looked at.
    """
    file.seek(offset_bytes)
    end, begun = offset_bytes, 0  # bytes of this line that were skipped
    while data := file.readline(min(MAX_LINE_BYTES, end_bytes - end - begun)):
        begun += len(data)
        if data.endswith(b"\n"):
            end, number = end + begun, number + 1
            yield Line(number, data[:-1] if begun == len(data) else None, end)
            begun = 0
