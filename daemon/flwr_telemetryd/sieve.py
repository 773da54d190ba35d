"""Take the events of one source ID out of a host's spool; the others stay, each of them once.

A sealed segment that holds any is renamed into a batch of our own, as a sidecar would take it, rewritten
there and renamed back. So it is in exactly one place at any moment, and death in between leaves an
unfinished batch, which a sidecar takes over (``batch.py``). Whoever loses a rename lets go.

This room must never touch a batch of somebody who may live, and never deliver.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files, record, scan
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult

from . import batch, discarding, segments, stages
from .batch import Batch
from .errors import LostRaceError
from .forgotten import source_of
from .locks import sealer_lock


def holds(path: Path, source_id: str) -> bool:
    """Whether a segment, in whatever room, holds an event of the ID, or damage with its text in it."""
    try:
        return any(_is_of(piece, source_id) for piece in stages.read_segment(path))
    except FileNotFoundError:
        return False


def _is_of(piece: scan.Record[record.Event] | scan.Damage, source_id: str) -> bool:
    if isinstance(piece, scan.Record):
        return source_of(piece.event) == source_id
    return source_id.encode() in piece.data


def sift(host: HostPaths, source_id: str, now_ns: int, *, alone: bool, now: float) -> int:
    """Take the events of an ID out of what is within reach.

    Args:
        host: whose spool.
        source_id: the ID.
        now_ns: nanoseconds since the epoch, for names.
        alone: whether the lock of this host is surely ours, so that nobody is making a batch.
        now: else the file system's time, which tells whose maker is dead by how long it was not touched.

    Returns:
        How many events were deleted.
    """
    owner = secrets.token_hex(8)
    erased = 0
    for path in batch.unfinished(host, owner, now=None if alone else now):
        with contextlib.suppress(LostRaceError):
            left = batch.take_over(host, path, owner)
            if not left.is_adopted:
                _give_back(left)
                continue
            # Its segments are other hosts'; they must not get into this host's spool.
            for segment in segments.listing(left.path):
                if holds(segment, source_id):
                    erased += _rewrite(left, segment, source_id, now_ns)
            with contextlib.suppress(OSError):
                left.path.rmdir()
    if holds(host.events, source_id):
        segments.seal(host, now_ns)
    found = [path for path in segments.sealed_segments(host) if holds(path, source_id)]
    if not found:
        return erased
    ours = batch.make(host, owner, now_ns)
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # a sidecar has it, or has taken ours over
            segments.rename(path, ours.path / path.name)
            erased += _rewrite(ours, ours.path / path.name, source_id, now_ns)
    _give_back(ours)
    return erased


def _give_back(ours: Batch) -> None:
    """Rename the segments of a batch back into the spool."""
    files.ensure_directory(ours.host.spool)
    for path in segments.listing(ours.path):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, ours.host.spool / path.name)
    with contextlib.suppress(OSError):
        ours.path.rmdir()


def _rewrite(ours: Batch, segment: Path, source_id: str, now_ns: int) -> int:
    """Take the events of an ID out of a segment of our own batch; how many there were."""
    start = segments.start_offset(segment.name)
    descriptor = files.open_file(segment, os.O_RDWR)
    try:
        with sealer_lock(descriptor) as result:
            if result is LockResult.BUSY:
                return 0  # a writer that was stopped in here has yet to see whether it is in time
            sieve = _Sieve(descriptor, start, source_id)
            segments.mark_removed(descriptor)
            files.replace_by(segment, sieve.whole(), durable=True)
            if not sieve.kept:
                segment.unlink(missing_ok=True)
        late = b"".join(sieve.others())
        if late:
            discarding.append(ours.host, ours.name, late, now_ns)  # as in race 13
        return sieve.erased
    finally:
        os.close(descriptor)


class _Sieve:
    """Reads a segment from an offset on, and knows how far it came."""

    def __init__(self, descriptor: int, start_bytes: int, source_id: str) -> None:
        self._descriptor = descriptor
        self._source_id = source_id
        self._end = start_bytes
        self.kept = self.erased = 0

    def whole(self) -> Iterator[bytes]:
        """A segment that is to be read from the same offset on, without the events of the ID."""
        if self._end:
            yield bytes(self._end)  # nobody reads what lies before it: that was delivered
        yield from self.others()

    def others(self) -> Iterator[bytes]:
        """What is not of the ID, as it stands, from where the last reading ended."""
        for piece in scan.read(segments.chunks_of(self._descriptor, self._end)):
            if isinstance(piece, scan.Record):
                data, events = os.pread(self._descriptor, piece.size_bytes, self._end), 1
            else:
                data, events = piece.data, 0
            self._end += len(data)
            if _is_of(piece, self._source_id):
                self.erased += events
            else:
                self.kept += 1
                yield data
