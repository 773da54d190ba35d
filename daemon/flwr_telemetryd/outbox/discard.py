"""After the commit: the segments of a batch are unlinked, as far as they are in its bodies.

Races, continued from ``outbox/batch.py``; each number is named by a test:

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

What goes back goes to the spool; of an adopted batch, whose events are not this host's, to a new batch of
that kind. This room must never delete a segment whose bodies are not committed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from flwr_telemetry import files, pending
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult

from ..spool import segments
from ..spool.directory import entry_names
from ..spool.locks import SEAL_WAIT_S, sealer_lock
from . import batch


def discard(host: HostPaths, committed: Path, now_ns: int, *, wait_s: float = SEAL_WAIT_S) -> None:
    """Unlink the segments of a committed batch, as far as they are in its bodies.

    One whose lock somebody holds for longer than ``wait_s`` stays, marked, until the next time.
    """
    for name in entry_names(committed):  # of ten thousands of bodies, perhaps
        if (mark := pending.mark(name)) is not None:
            with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
                _discard_segment(host, committed / name, mark.end, now_ns, wait_s)


def return_directory(host: HostPaths, name: str, now_ns: int) -> Path:
    """The directory that a segment of the batch called ``name`` goes back to."""
    if pending.is_adopted(name):
        return batch.make(host, secrets.token_hex(8), now_ns, adopted=True).path
    files.ensure_directory(host.spool)
    return host.spool


def _discard_segment(host: HostPaths, path: Path, end: int, now_ns: int, wait_s: float) -> None:
    name = path.parent.name
    descriptor = files.open_file(path, os.O_RDWR)
    try:
        with sealer_lock(descriptor, wait_s) as result:
            if result is LockResult.BUSY:
                return  # race 14: a writer that was stopped in here has yet to see whether it is in time
            if os.fstat(descriptor).st_size > end:
                back = return_directory(host, name, now_ns)
                path.rename(back / segments.sealed_name(now_ns, end))  # race 12
                return
            segments.remove(descriptor, path)
            # Still under the lock: who gets it next must not add what nobody reads any more.
            if tail := os.pread(descriptor, segments.CHUNK_BYTES, end):
                append(host, name, tail, now_ns)  # race 13
    finally:
        os.close(descriptor)


def append(host: HostPaths, name: str, data: bytes, now_ns: int) -> None:
    """Give back what came late to a segment of the batch called ``name`` and is in no file any more."""
    adopted = pending.is_adopted(name)
    for last in (False, False, True):
        back = return_directory(host, name, now_ns)
        try:
            files.append_bytes(back / segments.sealed_name(now_ns) if adopted else host.events, data)
        except FileNotFoundError:
            if last:
                raise
        else:
            return  # else another sidecar took that directory over, empty as it was
