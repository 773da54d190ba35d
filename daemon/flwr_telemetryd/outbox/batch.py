"""A batch: takes sealed segments, writes their bodies, and commits both with one rename.

    spool/sealed-….msgpack ──take──▶ work/<batch>.<owner>/ ──write──▶ …/<key>.json
                                             │                             │
                                             └──────── commit ◀── mark ────┘
                                                          │
                                          outbox/<batch>/ ──discard──▶ only bodies are left

- *Take* renames segments into the batch, so that a segment is in exactly one batch.
- *Write* coalesces their events into bodies, and leaves out events of a forgotten source ID. In the end all
  bodies are forced to the disk together, because their segments are deleted after the commit.
- *Mark* renames each segment to ``<name>.<end>.taken``; ``<end>`` is how far it was read. A whole segment
  needs no mark, because nobody appends to it.
- *Commit* is one rename of the directory into ``outbox/``, so that a batch exists whole or not at all.
- *Discard* unlinks the segments (``outbox/discard.py``).

The names alone tell the next sidecar what is left to do. A batch may also take the segments of other hosts of
the home. Its name ends in ``-adopted`` then, and no sidecar adds its own host's hardware to such events.

Races, continued from ``spool/segments.py``; each number is named by a test:

8.  Death between the takes: the batch is in ``work/`` with some segments; it is taken over.
9.  Death while bodies are written, or before the commit: the batch is taken over, its bodies are
    deleted, its marks are taken off, and it begins again.
10. Two sidecars take one segment, take over one batch or commit it: one rename succeeds; the other gets
    ENOENT, raises ``LostRaceError`` and leaves it.

This module never sends, and never deletes a segment.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flwr_telemetry import files, pending, system
from flwr_telemetry.layout import ADOPTED_SUFFIX, BODY_SUFFIX, Home, HostPaths, is_whole
from flwr_telemetry.named import NamedTuple

from ..burst import codec
from ..burst.codec import Coalescer
from ..errors import LostRaceError
from ..spool import quarantine, reader, segments
from ..spool.directory import entry_names, listing, remove_if_empty, rename, turn_at
from . import durable, forgotten
from .body import key_of

FOREIGN_WORK_S = 600.0
"""After so many seconds without a change, the owner of an unfinished batch counts as dead."""

_SEGMENTS_PER_TURN = 8
"""Writers on this machine wait while so many are taken."""

MAX_BATCH_SEGMENTS = 512
"""The most segments in a batch: a slow file server may take tens of milliseconds for each."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""The most bytes of segments in a batch, unless one segment alone is larger."""


class Batch(NamedTuple):
    """A batch in ``work/``."""

    host: HostPaths
    name: str
    """It begins with the time, because batches are delivered in the order in which they were taken."""
    owner: str
    """Identifies the run of a sidecar, or the command, that makes the batch."""

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
    adopted: Sequence[HostPaths] = (),
    *,
    only: Callable[[Path], bool] = lambda _: True,
) -> Batch | None:
    """Take the oldest sealed segments into a new batch, within its limits; None without any.

    Args:
        host: the host of the batch.
        owner: see ``Batch.owner``.
        now_ns: nanoseconds since the epoch, for the name.
        adopted: the hosts whose segments are taken instead of those of ``host``.
        only: whether a segment is taken.
    """
    found = itertools.chain.from_iterable(map(segments.sealed_segments, adopted or [host]))
    sealed = sorted(filter(only, found), key=lambda path: path.name)
    if not sealed:
        return None
    batch = make(host, owner, now_ns, adopted=bool(adopted))
    taken = taken_bytes = 0
    with turn_at(host) as turn:
        for number, segment in enumerate(sealed, start=1):
            with contextlib.suppress(FileNotFoundError):  # race 10: another batch has it
                taken_bytes += segment.lstat().st_size
                if taken and (taken_bytes > MAX_BATCH_BYTES or taken >= MAX_BATCH_SEGMENTS):
                    break
                rename(segment, batch.path / segment.name)
                taken += 1
            if number % _SEGMENTS_PER_TURN == 0:
                turn.pass_on()
    if taken:
        return batch
    remove_if_empty(batch.path)
    return None


def make(host: HostPaths, owner: str, now_ns: int, *, adopted: bool = False) -> Batch:
    """A new batch without segments; its name tells when it was made."""
    name = f"{max(now_ns, 0):019d}-{os.urandom(4).hex()}{ADOPTED_SUFFIX if adopted else ''}"
    batch = Batch(host, name, owner)
    files.ensure_directory(host.work)
    files.ensure_directory(batch.path)
    return batch


def unfinished(host: HostPaths, owner: str, *, now: float | None = None) -> list[Path]:
    """The unfinished batches of ``owner`` and of dead owners, oldest first.

    Args:
        host: the host of the batches.
        owner: see ``Batch.owner``.
        now: the file system's time. An owner is dead if its batch did not change for ``FOREIGN_WORK_S``. None
            if this process holds the host's lock, so that every other owner is dead.
    """
    found = []
    for path in listing(host.work):
        former = path.name.partition(".")[2]
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            status = path.lstat()
            if not former or not stat.S_ISDIR(status.st_mode):
                continue  # no batch
            if former == owner or now is None or files.age_s(now, status.st_mtime) >= FOREIGN_WORK_S:
                found.append(path)
    return found


def take_over(host: HostPaths, path: Path, owner: str) -> Batch:
    """Make an unfinished batch this owner's, as it was before its bodies were written.

    Args:
        host: the host that takes it over. If the batch is another host's, it becomes an adopted one.
        path: the batch.
        owner: see ``Batch.owner``.

    Raises:
        LostRaceError: another sidecar was first.
    """
    name = path.name.partition(".")[0]
    if path.parent != host.work:
        files.ensure_directory(host.work)
        name = name.removesuffix(ADOPTED_SUFFIX) + ADOPTED_SUFFIX
    batch = Batch(host, name, owner)
    with _lost_race(batch):
        if path != batch.path:
            rename(path, batch.path)
        _begin_again(batch)
    return batch


@contextlib.contextmanager
def _lost_race(batch: Batch) -> Iterator[None]:
    """Race 10: a file or directory that is missing means that another sidecar has the batch."""
    try:
        yield
    except FileNotFoundError as error:
        raise LostRaceError(batch.name) from error


def _begin_again(batch: Batch) -> None:
    """Race 9: deletes the bodies of an earlier attempt, and takes off its marks."""
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
    batch: Batch, *, bursts: bool, hardware: Mapping[str, int], checkpoint: Callable[[], bool] = lambda: True
) -> Written:
    """Write the bodies of a batch and mark its segments.

    Events whose source ID is noted in the home's ``forgotten`` file are left out. The file is read anew for
    each batch.

    Args:
        batch: the batch.
        bursts: whether events may share a body.
        hardware: added to ``context.hw`` of every event.
        checkpoint: see ``Runtime.checkpoint``; called before every body, because there may be very many.

    Raises:
        LostRaceError: another sidecar took the batch over, or telemetry was switched off.
        OSError, SpoolUnsafeError: the system's refusal, or a ``forgotten`` file that cannot be read. The
            batch stays and begins again later.
    """
    noted = forgotten.hashes(Home(batch.host.telemetry.parent))
    coalescer = Coalescer(bursts=bursts, hardware=hardware)
    bodies = damaged = left_out = 0
    with _lost_race(batch):
        for segment in listing(batch.path):
            if not segments.is_sealed(segment.name):
                continue
            end = segments.start_offset(segment.name)
            damage = quarantine.DamageWriter(batch.host, segment.name)
            with quarantine.opened_segment(batch.host, segment) as descriptor:
                if descriptor is None:
                    continue
                for piece in reader.read_as(segments.chunks_of(descriptor, end), coalescer.row):
                    end += piece.size_bytes
                    if isinstance(piece, reader.Damage):
                        damaged += piece.first
                        damage.write(piece.data)
                        continue
                    if noted and forgotten.is_noted(coalescer.source_of(piece.event), noted):
                        left_out += 1
                        continue
                    for body in coalescer.take(piece.event):
                        bodies += _put(batch, body, checkpoint)
            if not is_whole(segment.name):
                rename(segment, batch.path / f"{segment.name}.{end}{pending.TAKEN_SUFFIX}")
        for body in coalescer.finish():
            bodies += _put(batch, body, checkpoint)
        check = functools.partial(_check, batch, checkpoint)
        durable.sync_files(batch.path, bodies, _body_names(batch.path), check)
        system.fsync_directory(batch.path)
    return Written(bodies, damaged, left_out)


def commit(batch: Batch) -> Path:
    """Rename a batch into the outbox, and return its path there.

    Raises:
        LostRaceError: another sidecar took the batch over.
    """
    files.ensure_directory(batch.host.outbox)
    committed = batch.host.outbox / batch.name
    with _lost_race(batch):
        os.rename(batch.path, committed)
    system.fsync_directory(batch.host.outbox)
    system.fsync_directory(batch.host.work)
    return committed


def _put(batch: Batch, body: bytes, checkpoint: Callable[[], bool]) -> int:
    """Write a body into the batch, but not yet to the disk. Returns by how many bodies the batch grows.

    Two bodies of a batch may be equal to the last byte. Forked processes share a cluster ID, and may report
    the same in the same microsecond. Both bodies would have one key, so their events become one burst. A full
    body of one event alone stays as it is, because no body can hold more of that event.
    """
    _check(batch, checkpoint)
    path = batch.path / f"{key_of(body)}{BODY_SUFFIX}"
    try:
        with files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            files.write_all(descriptor, body)
    except FileExistsError:
        both = [*codec.doubled(body)]
        if body in both:
            return 0
        path.unlink()
        return sum(_put(batch, one, checkpoint) for one in both) - 1
    return 1


def _body_names(directory: Path) -> Iterator[str]:
    for name in entry_names(directory):
        if name.endswith(BODY_SUFFIX):
            yield name


def _check(batch: Batch, checkpoint: Callable[[], bool]) -> None:
    if not checkpoint():
        raise LostRaceError(batch.name)
