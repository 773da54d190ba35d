"""The sidecar's locks: that of its host, held for its whole run, and that of a segment while it is sealed.

In: a file and a time to wait. Out: a ``LockResult``. The lock of a host lets one sidecar run there. Its file,
``sidecar.lock``, is never unlinked. Each attempt goes through filelock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from filelock import lock_descriptor, unlock_descriptor

from flwr_telemetry import files
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult, wait
from flwr_telemetry.presence import state_claims_alive

WAIT_S = 1.0
"""A starter waits so long, because a writer's check for a living sidecar holds the lock for a moment."""

SEAL_WAIT_S = 1.0

_HOST_POLL_S = 0.01
_SEAL_POLL_S = 0.0005


@dataclass(frozen=True, slots=True)
class HostLock:
    """An attempt at the lock of a host, and its result."""

    host: HostPaths
    result: LockResult
    _descriptor: int = -1

    @property
    def is_exclusive(self) -> bool:
        """Whether no other sidecar can run on this host."""
        return self.result is LockResult.HELD

    def is_linked(self) -> bool:
        """Whether the lock file is still there. If not, another sidecar may hold a new one."""
        return files.names(self.host.lock, self._descriptor)


@contextlib.contextmanager
def held(host: HostPaths, wait_s: float, *, create: bool = False) -> Iterator[HostLock]:
    """Hold the lock of a host, after a wait of at most ``wait_s``; yields the result.

    Where locks do not work, the result is busy while ``sidecar.json`` names a process that lives.
    """
    try:
        descriptor = files.open_file(host.lock, os.O_RDWR | (os.O_CREAT if create else 0))
    except FileNotFoundError:
        yield HostLock(host, LockResult.BUSY)  # the whole directory was removed
        return
    try:
        result = wait(try_exclusive, descriptor, wait_s, _HOST_POLL_S)
        if result is LockResult.UNSUPPORTED and state_claims_alive(host):
            result = LockResult.BUSY
        yield HostLock(host, result, descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def sealer_lock(descriptor: int, wait_s: float = SEAL_WAIT_S) -> Iterator[LockResult]:
    """Hold the lock of a segment exclusively, after a wait of at most ``wait_s``; yields the result."""
    result = wait(try_exclusive, descriptor, wait_s, _SEAL_POLL_S)
    try:
        yield result
    finally:
        if result is LockResult.HELD:
            with contextlib.suppress(OSError):
                unlock_descriptor(descriptor)


def try_exclusive(descriptor: int) -> LockResult:
    """One attempt at an exclusive lock."""
    try:
        return LockResult.HELD if lock_descriptor(descriptor, blocking=False) else LockResult.BUSY
    except OSError:
        return LockResult.UNSUPPORTED
