"""After the commit of a batch: unlinks its segments, as far as their events are in its bodies.

A writer without the lock may still append to such a segment. Its new bytes return to the spool. If the batch
is adopted, they go to a new adopted batch, because its events are not this host's.

Races, continued from ``outbox/batch.py``; each number is named by a test:

11. Death between commit and discard: the marks tell that these segments are in the bodies, and whole segments
    need no mark. They are discarded before anything of the batch is delivered.
12. A writer without the lock appends to a segment after it was read: the segment is longer than its mark
    says. It returns to the spool whole, in one rename, under a name that tells where to read on.
13. Such a writer appends between that check and the unlink. After the unlink the size is read once more
    through the descriptor, and the new bytes are written to the spool. If the writer has seen that no link
    was left, it has written the event again, too, and this one event counts twice. This takes a process
    without a lock that was stopped during seal, read and commit, and woke within these microseconds.
14. A writer was stopped while it holds the lock, before its write or before its check of the link count. Its
    segment is sealed and read without the lock, but it is not unlinked before the lock is free. Until then it
    stays, marked, beside the bodies, which are delivered.

This module never deletes a segment whose bodies are not committed.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from flwr_telemetry import files, pending, system
from flwr_telemetry.layout import HostPaths, is_whole
from flwr_telemetry.locks import LockResult
from flwr_telemetry.named import NamedTuple

from ..spool import segments
from ..spool.directory import entry_names
from ..spool.locks import SEAL_WAIT_S, sealer_lock
from . import batch


def discard(
    host: HostPaths, committed: Path, owner: str, now_ns: int, *, wait_s: float = SEAL_WAIT_S
) -> None:
    """Unlink the segments of a committed batch, as far as they are in its bodies.

    A segment whose lock is busy for longer than ``wait_s`` stays, marked, until the next call.

    Args:
        host: the host of the batch.
        committed: the directory of the batch in ``outbox/``.
        owner: see ``Batch.owner``, for a batch of late events.
        now_ns: nanoseconds since the epoch, for names.
        wait_s: the longest wait for a lock, in seconds.
    """
    for name in entry_names(committed):  # names, not paths: there may be ten thousands of bodies
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            mark = pending.mark(name)
            if is_whole(name) or (mark is not None and not system.SEALED_GROWS):
                (committed / name).unlink()
            elif mark is not None:
                returns = _Return(host, owner, now_ns, pending.is_adopted(committed.name))
                _discard_segment(committed / name, mark.end, returns, wait_s)


class _Return(NamedTuple):
    """Where late events go."""

    host: HostPaths
    owner: str
    now_ns: int
    is_adopted: bool

    def path(self, start: int = 0) -> Path:
        """A new path for a segment with late events, which is read from ``start`` on."""
        if self.is_adopted:
            directory = batch.make(self.host, self.owner, self.now_ns, adopted=True).path
        else:
            directory = self.host.spool
            files.ensure_directory(directory)
        return directory / segments.sealed_name(self.now_ns, start)


def _discard_segment(path: Path, end: int, returns: _Return, wait_s: float) -> None:
    with files.opened(path, os.O_RDWR) as descriptor, sealer_lock(descriptor, wait_s) as result:
        if result is LockResult.BUSY:
            return  # race 14: the stopped writer must find its segment when it goes on
        if not segments.is_removed(descriptor, path, end, result):
            path.rename(returns.path(end))  # race 12
            return
        # Under the lock, so that the next writer that gets it sees the mark and appends elsewhere.
        if tail := system.pread(descriptor, segments.CHUNK_BYTES, end):
            _return_tail(returns, tail)  # race 13


def _return_tail(returns: _Return, tail: bytes) -> None:
    """Write late events, which are in no file any more, to a new segment."""
    for last in (False, False, True):
        try:
            files.append_bytes(returns.path(), tail)
        except FileNotFoundError:
            if last:
                raise
        else:
            return  # otherwise another process took the directory while it was empty
