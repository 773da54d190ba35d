"""A batch in the making: take sealed segments, write their bodies, commit, discard the segments.

    spool/sealed-….msgpack ──take──▶ work/<batch>.<owner>/ ──write──▶ …/<key>.json
                                             │                             │
                                             └──────── commit ◀── mark ────┘
                                                          │
                                          outbox/<batch>/ ──discard──▶ only bodies are left

*Take* renames segments into the batch, so a segment is in exactly one. *Write* coalesces them into
bodies, fsynced, and leaves out events of a forgotten source ID. *Mark* renames each segment to
``<name>.<end>.taken``, where ``<end>`` is how far it was read. *Commit* is one rename of the directory.
*Discard* unlinks the marked segments. A batch exists whole or not at all, and whoever comes later knows from
the names alone what is left to do; discarding is done in ``outbox/discard.py``.

A batch may also take the segments of other hosts of the home. Its name says so (``…-adopted``), since what
this host adds to its own events must not get into theirs, whoever finishes the batch.

Races, continued from ``spool/segments.py``; each number is named by a test:

8.  Death between the takes: the batch is in ``work/`` with some segments; it is taken over.
9.  Death while bodies are written, or before the commit: the batch is taken over, its bodies are
    deleted, its marks are taken off, and it begins again.
10. Two sidecars take one segment, take over one batch or commit it: one rename succeeds; the other gets
    ENOENT, raises ``LostRaceError`` and leaves it.

This room must never deliver, and never delete a segment.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry import files, pending
from flwr_telemetry.layout import ADOPTED_SUFFIX, BODY_SUFFIX, Home, HostPaths

from ..burst.codec import Coalescer
from ..errors import LostRaceError
from ..spool import quarantine, reader, segments
from ..spool.directory import fsync_directory, listing, rename
from . import forgotten
from .body import key_of

log = logging.getLogger("flwr_telemetryd")

FOREIGN_WORK_S = 600.0
MAX_BATCH_BYTES = 16 * 1024 * 1024


class Batch(NamedTuple):
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

    @property
    def is_adopted(self) -> bool:
        """Whether its events come from other hosts."""
        return pending.is_adopted(self.name)


def take(
    host: HostPaths,
    owner: str,
    now_ns: int,
    adopted: Iterable[HostPaths] = (),
    *,
    only: Callable[[Path], bool] = lambda _: True,
) -> Batch | None:
    """Take the oldest sealed segments, up to ``MAX_BATCH_BYTES``, into a new batch; None without any.

    Args:
        host: whose batch it becomes.
        owner: this life of a sidecar.
        now_ns: nanoseconds since the epoch, for the name.
        adopted: the hosts whose segments are taken instead of those of ``host``.
        only: whether a segment is taken.
    """
    others = list(adopted)
    spools = [segments.sealed_segments(spooled) for spooled in others or [host]]
    sealed = sorted(filter(only, itertools.chain(*spools)), key=lambda path: path.name)
    if not sealed:
        return None
    batch = make(host, owner, now_ns, adopted=bool(others))
    taken = taken_bytes = 0
    for segment in sealed:
        with contextlib.suppress(FileNotFoundError):  # race 10: another batch has it
            taken_bytes += segment.lstat().st_size
            if taken and taken_bytes > MAX_BATCH_BYTES:
                break
            rename(segment, batch.path / segment.name)
            taken += 1
    if taken:
        return batch
    with contextlib.suppress(OSError):
        batch.path.rmdir()
    return None


def make(host: HostPaths, owner: str, now_ns: int, *, adopted: bool = False) -> Batch:
    """A new batch, with nothing in it."""
    files.ensure_directory(host.work)
    batch = Batch(host, new_name(now_ns) + (ADOPTED_SUFFIX if adopted else ""), owner)
    files.ensure_directory(batch.path)
    return batch


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
    for path in listing(host.work):
        former = path.name.partition(".")[2]
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            status = path.lstat()
            if not former or not stat.S_ISDIR(status.st_mode):
                continue  # nothing of ours
            if former == owner or now is None or files.age_s(now, status.st_mtime) >= FOREIGN_WORK_S:
                found.append(path)
    return found


def take_over(host: HostPaths, path: Path, owner: str) -> Batch:
    """Make an unfinished batch one's own, ready to begin again.

    Args:
        host: who takes it over; on another host than its own it becomes an adopted one.
        path: the batch.
        owner: this life of a sidecar.

    Raises:
        LostRaceError: somebody else was first.
    """
    name = path.name.partition(".")[0]
    if path.parent != host.work:
        files.ensure_directory(host.work)
        name = name.removesuffix(ADOPTED_SUFFIX) + ADOPTED_SUFFIX
    batch = Batch(host, name, owner)
    try:
        if path != batch.path:
            rename(path, batch.path)
        _begin_again(batch)
    except FileNotFoundError as error:
        raise LostRaceError(batch.name) from error
    return batch


def _begin_again(batch: Batch) -> None:
    for path in listing(batch.path):
        if (mark := pending.mark(path.name)) is not None:
            rename(path, batch.path / mark.segment)
        elif path.name.endswith((BODY_SUFFIX, files.PART_SUFFIX)):
            path.unlink(missing_ok=True)


class Written(NamedTuple):
    """The counts of a batch that was written."""

    bodies: int
    """Bodies in the batch."""
    damaged: int
    """Runs of damage in its segments."""
    forgotten: int = 0
    """Events that were left out, because their source ID was forgotten."""


def write(
    batch: Batch,
    *,
    bursts: bool,
    hardware: Mapping[str, int],
    checkpoint: Callable[[], bool] = lambda: True,
) -> Written:
    """Write the bodies of a batch and mark its segments.

    Events whose source ID is noted in the home's ``forgotten`` file are left out. The file is read anew for
    each batch.

    Args:
        batch: it.
        bursts: whether to coalesce.
        hardware: the figures that are added to its events.
        checkpoint: consent, as it is now; asked before every body, of which there may be very many.

    Raises:
        LostRaceError: somebody took the batch over, or telemetry was switched off.
        OSError, SpoolUnsafeError: the system's refusal, or a ``forgotten`` file that cannot be read. The
            batch stays and is begun again later.
    """
    noted = forgotten.hashes(Home(batch.host.telemetry.parent))
    coalescer = Coalescer(bursts=bursts, hardware=hardware)
    bodies = damaged = left_out = 0
    try:
        for segment in listing(batch.path):
            if not segments.is_sealed(segment.name) or not quarantine.is_segment(batch.host, segment):
                continue
            end = segments.start_offset(segment.name)
            kept = quarantine.DamageWriter(batch.host, segment.name)
            for piece in reader.read_as(segments.chunks(segment, end), coalescer.row):
                if isinstance(piece, reader.Record):
                    end += piece.size_bytes
                    if noted and forgotten.is_noted(coalescer.source_of(piece.event), noted):
                        left_out += 1
                        continue
                    for body in coalescer.take(piece.event):
                        bodies += _put(batch, body, checkpoint)
                else:
                    end += len(piece.data)
                    damaged += piece.first
                    kept.keep(piece.data)
            rename(segment, batch.path / f"{segment.name}.{end}{pending.TAKEN_SUFFIX}")
        for body in coalescer.finish():
            bodies += _put(batch, body, checkpoint)
        fsync_directory(batch.path)
    except FileNotFoundError as error:
        raise LostRaceError(batch.name) from error
    return Written(bodies, damaged, left_out)


def commit(batch: Batch) -> Path:
    """Make the batch exist: one rename into the outbox; its path there.

    Raises:
        LostRaceError: somebody took the batch over.
    """
    files.ensure_directory(batch.host.outbox)
    committed = batch.host.outbox / batch.name
    try:
        os.rename(batch.path, committed)
    except FileNotFoundError as error:
        raise LostRaceError(batch.name) from error
    fsync_directory(batch.host.outbox)
    fsync_directory(batch.host.work)
    return committed


def _put(batch: Batch, body: bytes, checkpoint: Callable[[], bool]) -> int:
    if not checkpoint():
        raise LostRaceError(batch.name)
    path = batch.path / f"{key_of(body)}{BODY_SUFFIX}"
    descriptor = files.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        files.write_all(descriptor, body)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return 1
