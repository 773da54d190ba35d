"""The spool, as a writer sees it: one record, one ``write`` to the open segment, under a shared lock.

Appends are atomic among themselves. The sidecar takes the same lock exclusively, renames the segment
(``segments.py`` over there) and reads it later.

The races of appending, numbered; ``segments.py`` and ``batch.py`` continue the list.

1. The segment is renamed between a writer's open and its write. The lock excludes it; where a lock
   cannot be had, the record lands in the sealed segment, which is read later or whose tail comes back.
2. The segment is unlinked between a writer's open and its write: no link is left after the write, or it is
   marked as removed, and the writer appends once more, to the new segment. NFS leaves a link while the file
   is open; its name tells, and is asked where no lock kept the sealer out.
3. The spool is removed or replaced under a running process: the path does not name the writer's file
   any more, so it opens (and, if it may, creates) anew.
4. A process dies inside its write: torn bytes, which cost no other record (see ``record.py``).
5. A stopped process holds the lock: a writer waits ``LOCK_WAIT_S`` and appends without it.

On a network file system a handle goes stale (ESTALE) when another host has removed its file: that is races
2 and 3 seen from there, at whichever call, and the writer opens anew. What is written there is only on its
way: NFS sends it when the lock is released, and tells nobody that the quota is used up or that there is no
such file any more. The writer has it sent before, at no more cost, and hears of that (see ``network.py``).

Nobody ever truncates. This room must never wait longer than that, but for a server, and never read a clock
for anything else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable

from . import files, network
from .errors import SpoolFullError, SpoolWriteError, from_os_error
from .handle import Handle
from .layout import Home, HostPaths
from .locks import LockResult, unlock, wait_shared

if sys.platform != "win32":
    import fcntl

    from .locks import LOCK_SHARED

LOCK_WAIT_S = 0.005
"""No event waits longer than this for the lock."""

_LOCK_POLL_S = 0.0005
_TRIES = 5
_BELIEVED_TRIES = 2
"""After so many the name of the segment is not believed any more."""

# Read and write, though nothing is read: NFS locks by the access mode, and wants both.
_FLAGS = os.O_RDWR | os.O_APPEND


class CreationRefusedError(Exception):
    """Consent, read afresh, does not allow to create the spool: telemetry is off, nothing is wrong."""


class Writer:
    """A descriptor of the open segment, for one thread at a time.

    Args:
        home: the home; its directories are created when first needed.
        host: this host's part of it.
        may_create: asked before anything is created.
        on_first_contact: called when this writer created ``telemetry/``.
    """

    def __init__(
        self,
        home: Home,
        host: HostPaths,
        may_create: Callable[[], bool],
        on_first_contact: Callable[[], None],
    ) -> None:
        self._home = home
        self._host = host
        self._may_create = may_create
        self._on_first_contact = on_first_contact
        self._path = str(host.events)
        self._handle: Handle | None = None
        self._mounts = network.Mounts()
        self._is_remote = False

    def append(self, frame: bytes, cap_bytes: float) -> None:
        """Append one record; it survives the death of any process once this returns.

        Args:
            frame: the whole record.
            cap_bytes: the size of the open segment from which on the record is dropped and counted.

        Raises:
            SpoolError: it is not in the spool, or only torn.
            CreationRefusedError: telemetry is off.
        """
        try:
            handle, removed = self._handle, 0
            if handle is not None:
                try:
                    if handle.is_ours() and self._is_kept(handle, frame, cap_bytes):
                        return
                    removed = 1
                except OSError as error:
                    if error.errno != errno.ESTALE:
                        raise
            self._append_anew(frame, cap_bytes, removed)
        except OSError as error:
            self.close()
            raise from_os_error(error, self._path) from error

    def _append_anew(self, frame: bytes, cap_bytes: float, removed: int) -> None:
        """Append to a segment that is opened now, after one was removed so many times."""
        for _ in range(_TRIES):
            self.close()
            try:
                if self._is_kept(
                    self._open(afresh=removed >= _BELIEVED_TRIES), frame, cap_bytes, is_new=True
                ):
                    return
                removed += 1
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
        self.close()
        msg = f"{self._path} is replaced faster than it can be written to"
        raise SpoolWriteError(msg)

    def close(self) -> None:
        """Close the descriptor; the next append opens it anew."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _is_kept(self, handle: Handle, frame: bytes, cap_bytes: float, *, is_new: bool = False) -> bool:
        """Whether one attempt has put the record into a file that still has a name."""
        descriptor = handle.descriptor
        try:
            fcntl.flock(descriptor, LOCK_SHARED)  # `try_shared`, without the cost of a Python call
            locked = True
        except OSError:
            locked = self._lock(descriptor, is_new=is_new)
        try:
            try:
                named = os.stat(self._path, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if (named.st_ino, named.st_dev) != handle.identity:
                return False
            if named.st_size + len(frame) > cap_bytes:
                self._drop()
            written = os.write(descriptor, frame)
            if written != len(frame):
                msg = f"{self._path}: only {written} of {len(frame)} bytes could be written"
                raise SpoolFullError(msg)
            if self._is_remote:
                os.fsync(descriptor)  # letting go of the lock does it, too, but keeps a refusal to itself
            status = os.fstat(descriptor)
            if status.st_nlink == 0 or status.st_mode & files.REMOVED:
                return False
            return (locked and not self._is_remote) or not network.is_unlinked(descriptor)
        finally:
            if locked:
                unlock(descriptor)

    def _lock(self, descriptor: int, *, is_new: bool) -> bool:
        try:
            # A sleep is a little longer than asked for, and the last one starts before the wait is over.
            result = wait_shared(descriptor, LOCK_WAIT_S - 2 * _LOCK_POLL_S, _LOCK_POLL_S)
        except OSError:
            if is_new:
                return False  # a file that was opened just now is not stale; its locks are refused
            raise
        return result is LockResult.HELD

    def _drop(self) -> None:
        if not self._host.dropped.exists() and not self._may_create():
            raise CreationRefusedError
        files.append_bytes(self._host.dropped, b"\0")
        msg = f"{self._path} is at its cap (spool_max_mib); run `flwr-telemetry flush`"
        raise SpoolFullError(msg)

    def _open(self, *, afresh: bool) -> Handle:
        descriptor = -1
        if afresh:
            # This machine remembers a name that another host removed. Only who means to create it has it ask.
            with contextlib.suppress(FileExistsError):
                descriptor = self._create(_FLAGS | os.O_CREAT | os.O_EXCL)
        if descriptor < 0:
            descriptor = self._open_named()
        try:
            self._handle = handle = Handle(descriptor, _FLAGS)
        except OSError:
            os.close(descriptor)
            raise
        self._is_remote = self._mounts.is_remote(handle.identity[1])
        return handle

    def _open_named(self) -> int:
        try:
            for directory in (self._host.telemetry, self._host.root, self._host.spool):
                files.check_directory(directory)
            return files.open_file(self._path, _FLAGS)
        except FileNotFoundError:
            return self._create(_FLAGS | os.O_CREAT)

    def _create(self, flags: int) -> int:
        if not self._may_create():
            raise CreationRefusedError
        files.make_home(self._home.path)
        first = files.ensure_directory(self._host.telemetry)
        try:
            descriptor = self._create_segment(flags)
        except FileNotFoundError:
            descriptor = self._create_segment(flags)  # a sidecar removed what was empty a moment ago
        if first:
            self._on_first_contact()
        return descriptor

    def _create_segment(self, flags: int) -> int:
        files.ensure_directory(self._host.root)
        files.ensure_directory(self._host.spool)
        return files.open_file(self._path, flags)
