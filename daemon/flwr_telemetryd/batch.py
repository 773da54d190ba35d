"""A batch in the making: take sealed segments, write their bodies, commit, discard the segments.

    spool/sealed-….msgpack ──take──▶ work/<batch>.<owner>/ ──write──▶ …/<key>.json
                                             │                             │
                                             └──────── commit ◀── mark ────┘
                                                          │
                                          outbox/<batch>/ ──discard──▶ only bodies are left

*Take* renames segments into the batch, so a segment is in exactly one. *Write* coalesces them into
bodies, fsynced. *Mark* renames each segment to ``<name>.<end>.taken``, where ``<end>`` is how far it was
read. *Commit* is one rename of the directory. *Discard* unlinks the marked segments. A batch exists
whole or not at all, and whoever comes later knows from the names alone what is left to do.

Races, continued from ``segments.py``; each number is named by a test:

8.  Death between the takes: the batch is in ``work/`` with some segments; it is taken over.
9.  Death while bodies are written, or before the commit: the batch is taken over, its bodies are
    deleted, its marks are taken off, and it begins again.
10. Two sidecars take one segment, take over one batch or commit it: one rename succeeds; the other gets
    ENOENT, raises ``LetGoError`` and leaves it.
11. Death between commit and discard: the marks tell that these segments are in the bodies; they are
    discarded before anything of the batch is delivered.
12. A writer without the lock appends to a segment after it was read: it is longer than its mark says.
    It goes back to the spool under a name that tells where to read on, whole, in one rename.
13. Such a writer appends between that look and the unlink: the size is looked at once more, through the
    descriptor, after the unlink; what came in between is written to the spool. (The writer may have
    seen that no link was left and done so too: then this one event counts twice. It takes a process
    that has no lock, was stopped for all of seal, read and commit, and woke within these microseconds.)
14. A writer was stopped while it holds the lock, before its write or between the write and its look at
    the links: its segment is sealed and read without the lock, but it is not unlinked before the lock
    is free. Until then it lies, marked, beside the bodies, which are delivered all the same.

This room must never deliver, and never delete a segment whose bodies are not committed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import files, record, waiting
from flwr_telemetry.layout import BODY_SUFFIX, HostPaths

from . import damage, segments
from .body import key_of
from .burst import Coalescer
from .errors import LetGoError

log = logging.getLogger("flwr_telemetryd")

FOREIGN_WORK_S = 600.0
MAX_BATCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch in ``work/``.

    Attributes:
        host: whose batch.
        name: told by time, so that batches are delivered in the order in which they were taken.
        owner: the life of a sidecar that has it.
    """

    host: HostPaths
    name: str
    owner: str

    @property
    def path(self) -> Path:
        """``work/<batch>.<owner>``."""
        return self.host.work / f"{self.name}.{self.owner}"


def take(host: HostPaths, owner: str, now_ns: int) -> Batch | None:
    """Take the oldest sealed segments, up to ``MAX_BATCH_BYTES``, into a new batch; None without any."""
    sealed = segments.sealed_segments(host)
    if not sealed:
        return None
    files.ensure_directory(host.work)
    batch = Batch(host, new_name(now_ns), owner)
    files.ensure_directory(batch.path)
    taken = taken_bytes = 0
    for segment in sealed:
        with contextlib.suppress(FileNotFoundError):  # race 10: another batch has it
            taken_bytes += segment.lstat().st_size
            if taken and taken_bytes > MAX_BATCH_BYTES:
                break
            os.rename(segment, batch.path / segment.name)
            taken += 1
    if taken:
        return batch
    with contextlib.suppress(OSError):
        batch.path.rmdir()
    return None


def new_name(now_ns: int) -> str:
    """The name of a new batch, which tells when it was made."""
    return f"{max(now_ns, 0):019d}-{secrets.token_hex(4)}"


def unfinished(host: HostPaths, owner: str, *, now: float | None = None) -> list[Path]:
    """The unfinished batches of dead owners, and of ourselves, oldest first.

    Args:
        host: whose.
        owner: who asks.
        now: the file system's time, to tell who is dead: what was not touched for ``FOREIGN_WORK_S`` has
            no owner. None if the host's lock is surely ours, so that every other owner is dead.
    """
    found = []
    for path in segments.listing(host.work):
        former = path.name.partition(".")[2]
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if not former or not stat.S_ISDIR(status.st_mode):
                continue  # nothing of ours
            if former == owner or now is None or files.age_s(now, status.st_mtime) >= FOREIGN_WORK_S:
                found.append(path)
    return found


def take_over(host: HostPaths, path: Path, owner: str) -> Batch:
    """Make an unfinished batch one's own, ready to begin again.

    Raises:
        LetGoError: somebody else was first.
    """
    batch = Batch(host, path.name.partition(".")[0], owner)
    try:
        if path != batch.path:
            os.rename(path, batch.path)
        _begin_again(batch)
    except FileNotFoundError as error:
        raise LetGoError(batch.name) from error
    return batch


def _begin_again(batch: Batch) -> None:
    for path in segments.listing(batch.path):
        if (mark := waiting.mark(path.name)) is not None:
            path.rename(batch.path / mark.segment)
        elif path.name.endswith((BODY_SUFFIX, files.PART_SUFFIX)):
            path.unlink()


@dataclass(frozen=True, slots=True)
class Written:
    """What came of making a batch.

    Attributes:
        bodies: how many bodies it has.
        damaged: how many runs of damage its segments held.
    """

    bodies: int
    damaged: int


def write(batch: Batch, *, bursts: bool, hardware: Mapping[str, int]) -> Written:
    """Write the bodies of a batch and mark its segments.

    Raises:
        LetGoError: somebody took the batch over.
        OSError: the system's refusal; the batch stays and is begun again later.
    """
    coalescer = Coalescer(bursts=bursts, hardware=hardware)
    bodies = damaged = 0
    try:
        for segment in segments.listing(batch.path):
            if not segments.is_sealed(segment.name) or not damage.is_segment(batch.host, segment):
                continue
            end = segments.start_offset(segment.name)
            kept = damage.Keeper(batch.host, segment.name)
            for piece in record.read(segments.chunks(segment, end)):
                if isinstance(piece, record.Record):
                    end += piece.size_bytes
                    for body in coalescer.add(piece.event):
                        bodies += _put(batch, body)
                else:
                    end += len(piece.data)
                    damaged += piece.first
                    kept.keep(piece.data)
            segment.rename(batch.path / f"{segment.name}.{end}{waiting.TAKEN_SUFFIX}")
        for body in coalescer.finish():
            bodies += _put(batch, body)
        segments.fsync_directory(batch.path)
    except FileNotFoundError as error:
        raise LetGoError(batch.name) from error
    return Written(bodies, damaged)


def commit(batch: Batch) -> Path:
    """Make the batch exist: one rename into the outbox; its path there.

    Raises:
        LetGoError: somebody took the batch over.
    """
    files.ensure_directory(batch.host.outbox)
    committed = batch.host.outbox / batch.name
    try:
        os.rename(batch.path, committed)
    except FileNotFoundError as error:
        raise LetGoError(batch.name) from error
    segments.fsync_directory(batch.host.outbox)
    segments.fsync_directory(batch.host.work)
    return committed


def discard(host: HostPaths, committed: Path, now_ns: int, *, wait_s: float = segments.SEAL_WAIT_S) -> None:
    """Unlink the segments of a committed batch, as far as they are in its bodies.

    One whose lock somebody holds for longer than ``wait_s`` stays, marked, until the next time.
    """
    for path in segments.listing(committed):
        if (mark := waiting.mark(path.name)) is not None:
            with contextlib.suppress(FileNotFoundError):
                _discard_segment(host, path, mark.end, now_ns, wait_s)


def _discard_segment(host: HostPaths, path: Path, end: int, now_ns: int, wait_s: float) -> None:
    descriptor = files.open_file(path, os.O_RDWR)
    try:
        with segments.sealer_lock(descriptor, wait_s) as hold:
            if hold is segments.Hold.BUSY:
                return  # race 14: a writer that was stopped in here has yet to see whether it is in time
            if os.fstat(descriptor).st_size > end:
                path.rename(host.spool / segments.sealed_name(now_ns, end))  # race 12
                return
            path.unlink()
        if tail := os.pread(descriptor, segments.CHUNK_BYTES, end):
            files.append_bytes(host.events, tail)  # race 13
    finally:
        os.close(descriptor)


def _put(batch: Batch, body: bytes) -> int:
    path = batch.path / f"{key_of(body)}{BODY_SUFFIX}"
    descriptor = files.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        files.write_all(descriptor, body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return 1
