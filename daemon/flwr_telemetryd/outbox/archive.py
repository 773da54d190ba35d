"""JSON lines: the archive of accepted bodies, and the files that ``url = "file:///…"`` names.

    sent/<YYYY-MM-DD>.jsonl             every body that a collector accepted, one a line
    sent/<YYYY-MM-DD>.receipts.jsonl    for each of them: its key, when, to which address, and the answer

A body is written before its receipt. So a death in between leaves a body without one; older homes have none.

There is one reader and one appender of such lines. An appender holds the file's lock, so the lines that are
there while the lock is free are whole. On a shared file system nothing is locked, and no other machine
appends to a file of this host. Before an append to a file of several machines, ``.<name>.claim`` is created
beside it. The file is opened after that, because then the client asks the server for its length.

This module never holds more of a file in memory than one line, and never deletes anything.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from flwr_telemetry import files, mounts, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult, try_exclusive, try_shared, unlock, wait
from flwr_telemetry.named import Any, NamedTuple

from ..burst import codec
from ..spool.directory import listing
from ..spool.locks import SEAL_WAIT_S

ARCHIVE_SUFFIX = ".jsonl"
RECEIPTS_SUFFIX = ".receipts.jsonl"

NOWHERE = "nowhere"
"""The address in the receipt of a body that was collected and never sent (``upload = false``)."""

log = logging.getLogger("flwr_telemetryd")

MAX_LINE_BYTES = 2 * codec.MAX_BODY_BYTES
"""A longer line is no body."""

LOCK_WAIT_S = 5.0
"""The longest wait for the lock of a file that several hosts share, in seconds."""

_POLL_S = 0.01
_TRIES = 100
_CLAIM_POLL_S = LOCK_WAIT_S / _TRIES


class Line(NamedTuple):
    """A line of a file."""

    data: bytes | None
    """The line without its end; None if it is longer than any body can be."""

    end: int
    """The offset of the next line, in bytes."""


def lines(file: io.BufferedReader, offset_bytes: int = 0, end_bytes: int = sys.maxsize) -> Iterator[Line]:
    """The lines between two offsets, without a last line that has no end yet.

    Args:
        file: an open file.
        offset_bytes: the offset of the first line.
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
    """The length of a file, read under its lock, so that no appender is amid a line.

    After ``LOCK_WAIT_S``, and where locks do not work, the length is read without the lock.
    """
    with contextlib.suppress(OSError):
        wait(try_shared, file.fileno(), LOCK_WAIT_S, _POLL_S)
    try:
        return os.fstat(file.fileno()).st_size
    finally:
        unlock(file.fileno())


def append_line(path: Path, line: bytes, *, across_hosts: bool = False) -> None:
    """Append a line under the file's lock. A line that a full disk or a death tore stays a line of its own.

    Args:
        path: the file, created if it is missing.
        line: the line without its end.
        across_hosts: several hosts deliver to the file. The line is on the disk on return, and a lock that
            stays busy is an error. Otherwise the line is written without the lock then, because a stopped
            process must not stop the archive: ``O_APPEND`` keeps the lines of one host apart.
            On Windows nothing does, so there a busy lock is always an error.

    Raises:
        SpoolUnsafeError: it is no plain file of this user.
        OSError: the system's refusal; EAGAIN if the lock stays busy.
    """
    claim = path.with_name(f".{path.name}.claim") if across_hosts and mounts.is_shared(path) else None
    for _ in range(_TRIES):
        with files.claimed(claim) if claim else contextlib.nullcontext(True) as is_ours:
            if is_ours and _is_appended(path, line, across_hosts=across_hosts):
                return
        if claim:
            time.sleep(_CLAIM_POLL_S)
    raise _busy(path)


def _is_appended(path: Path, line: bytes, *, across_hosts: bool) -> bool:
    """``append_line``, once; false if the file was replaced meanwhile."""
    with files.opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        needs_lock = across_hosts or not system.APPENDS_WHOLE
        result = wait(try_exclusive, descriptor, LOCK_WAIT_S if needs_lock else SEAL_WAIT_S, _POLL_S)
        if result is LockResult.BUSY and needs_lock:
            raise _busy(path)
        if not files.names(path, descriptor):
            return False  # a rotation or a cap replaced it; its reader may have seen its end already
        size = os.fstat(descriptor).st_size
        if size and system.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        files.write_all(descriptor, line + b"\n")
        if across_hosts:
            system.fsync(descriptor)
        return True


def _busy(path: Path) -> OSError:
    return BlockingIOError(errno.EAGAIN, "locked or replaced by another process", str(path))


class Receipt(NamedTuple):
    """The proof that a body was sent, or kept: one line of a file of receipts."""

    key: str
    """The idempotency key under which the body was sent."""
    at: str
    """When the collector accepted it: ISO 8601 in UTC."""
    status: int | None
    """The status code of the answer; None if it went into a file, or nowhere."""
    to: str
    """The address, without query and credentials; ``NOWHERE`` if it was not sent."""


def receipt(key: str, now: datetime, status: int | None, url: str) -> Receipt:
    """The receipt of a body that was accepted now, in UTC, at a collector's address."""
    return Receipt(key, now.isoformat(), status, address_of(url))


def address_of(url: str) -> str:
    """An address as receipts and people see it: without query, fragment and credentials."""
    if url == NOWHERE:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def archive(host: HostPaths, body: bytes, accepted: Receipt) -> None:
    """Append a body that a collector accepted, byte for byte, to the file of its day; then its receipt.

    Args:
        host: the host whose archive it is.
        body: the body.
        accepted: its receipt; the date in it names the day.

    Raises:
        OSError, SpoolUnsafeError: the body cannot be archived. A receipt that cannot be written is only
            logged, because the body is in the archive then and must not come twice.
    """
    files.ensure_directory(host.sent)
    day = accepted.at[:10]
    append_line(host.sent / f"{day}{ARCHIVE_SUFFIX}", body)
    line: dict[str, Any] = accepted._asdict()
    if (digest := hashlib.sha256(body).hexdigest()) != accepted.key:
        line["sha256"] = digest  # the key of an event of a refused burst does not depend on its bytes
    try:
        append_line(host.sent / f"{day}{RECEIPTS_SUFFIX}", json.dumps(line).encode())
    except (OSError, TelemetryError) as error:
        log.warning("body %s is archived without a receipt: %s", accepted.key, error)


def archive_files(host: HostPaths) -> list[Path]:
    """The files of the archive, oldest day first, without those of the receipts."""
    names = [path for path in listing(host.sent) if path.name.endswith(ARCHIVE_SUFFIX)]
    return [path for path in names if not path.name.endswith(RECEIPTS_SUFFIX)]


def receipts_of(day: Path) -> Path:
    """The file of the receipts that belong to one day's file of the archive."""
    return day.with_name(day.name.removesuffix(ARCHIVE_SUFFIX) + RECEIPTS_SUFFIX)


class Receipts:
    """The receipts of one day's file of the archive, by the SHA-256 of the bodies.

    The file is read again if a body has no receipt yet and the file has grown, because a receipt is written
    after its body.
    """

    def __init__(self, day: Path) -> None:
        self._path = receipts_of(day)
        self._end = 0
        self._found: dict[str, Receipt] = {}

    def of(self, body: bytes) -> Receipt | None:
        """The last receipt of a body; None without one. Raises as ``read_archive``."""
        digest = hashlib.sha256(body).hexdigest()
        if digest not in self._found:
            with contextlib.suppress(FileNotFoundError):
                self._read()
        return self._found.get(digest)

    def last_sent(self) -> str:
        """When a body of the day was sent last: the day itself without receipts; empty if none was sent."""
        try:
            self._read()
        except FileNotFoundError:
            return self._path.name.partition(".")[0]
        return max((receipt.at for receipt in self._found.values() if receipt.to != NOWHERE), default="")

    def _read(self) -> None:
        if os.lstat(self._path).st_size > self._end:
            for line, end in read_archive(self._path, self._end):
                self._end = end
                if found := parsed(line):
                    digest, accepted = found
                    self._found[digest] = accepted


def parsed(line: bytes) -> tuple[str, Receipt] | None:
    """The SHA-256 of a body, and its receipt, from a line; None if the line is damaged."""
    try:
        fields = json.loads(line)
        digest = fields.pop("sha256", fields["key"])
        found = Receipt(**fields)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    is_text = all(isinstance(text, str) for text in (digest, found.key, found.at, found.to))
    return (digest, found) if is_text and (found.status is None or type(found.status) is int) else None


def read_archive(path: Path, offset_bytes: int = 0) -> Iterator[tuple[bytes, int]]:
    """The lines of one day's file, bodies or receipts, each with the offset at which it ends.

    Lines that have no end yet, or are longer than any body, are left out.
    """
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:
        for line in lines(file, offset_bytes):
            if line.data is not None:
                yield line.data, line.end
