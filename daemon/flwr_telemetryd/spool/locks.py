"""The sidecar's locks: the host's lock for a whole run, and a segment's lock while it is sealed or deleted.

In: a file and a time to wait. Out: a ``LockResult``. The lock of a host lets one sidecar run there. Its file,
``sidecar.lock``, is never unlinked.

On a file system that other machines share, nothing is locked. A lock there may wait for a server for ever, or
be granted to every machine. The result is UNSUPPORTED at once, and the caller relies on renames alone. The
lock of a host then is a claim. A sidecar writes its process to ``sidecar.json``. It ends if the file names
another process that lives.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from flwr_telemetry import files
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.locks import LockResult, try_exclusive, unlock, wait
from flwr_telemetry.named import NamedTuple
from flwr_telemetry.presence import birth, sidecar_state, state_claims_alive

WAIT_S = 1.0
"""A sidecar that starts waits so long, because a writer's check for a sidecar holds the lock for a moment."""

SEAL_WAIT_S = 1.0
"""The longest wait for a writer that holds the lock of a segment, in seconds."""

_HOST_POLL_S = 0.01
_SEAL_POLL_S = 0.0005


class HostLock(NamedTuple):
    """An attempt at the lock of a host, and its result."""

    host: HostPaths
    result: LockResult
    descriptor: int = -1
    """Of the open lock file."""
    is_exclusive: bool = False
    """Whether no other sidecar runs on this host. Without locks, two that start at once may both believe it
    for a moment, and share the work by renames."""

    def is_lost(self) -> bool:
        """Whether another sidecar has claimed the host since; always false with a lock."""
        return self.result is LockResult.UNSUPPORTED and state_claims_alive(self.host)

    def is_linked(self) -> bool:
        """Whether the lock file is still there. If not, another sidecar may hold a new one."""
        return files.names(self.host.lock, self.descriptor)


@contextlib.contextmanager
def held(host: HostPaths, wait_s: float, *, create: bool = False) -> Iterator[HostLock]:
    """Hold the lock of a host, after a wait of at most ``wait_s``; yields the result.

    The result is busy, too, if there is no lock file and ``create`` is false. Where locks do not work, it is
    busy while ``sidecar.json`` names a process that lives.
    """
    try:
        descriptor = files.open_file(host.lock, os.O_RDWR | (os.O_CREAT if create else 0))
    except FileNotFoundError:
        yield HostLock(host, LockResult.BUSY)  # the whole directory was removed
        return
    try:
        result = wait(functools.partial(_try_host, host), descriptor, wait_s, _HOST_POLL_S)
        is_claimed = result is LockResult.UNSUPPORTED and not _may_run_elsewhere(host)
        yield HostLock(host, result, descriptor, result is LockResult.HELD or is_claimed)
    finally:
        os.close(descriptor)


def _try_host(host: HostPaths, descriptor: int) -> LockResult:
    result = try_exclusive(descriptor)
    return LockResult.BUSY if result is LockResult.UNSUPPORTED and state_claims_alive(host) else result


def _may_run_elsewhere(host: HostPaths) -> bool:
    """Whether ``sidecar.json`` names a process of another container, which cannot be seen from here."""
    state = sidecar_state(host)
    return state is not None and not state.ended and _namespace(state.born) != _namespace(birth(os.getpid()))


def _namespace(born: str) -> str:
    return born.partition(" ")[0]


@contextlib.contextmanager
def sealer_lock(descriptor: int, wait_s: float = SEAL_WAIT_S) -> Iterator[LockResult]:
    """Hold the lock of a segment exclusively, after a wait of at most ``wait_s``; yields the result."""
    result = wait(try_exclusive, descriptor, wait_s, _SEAL_POLL_S)
    try:
        yield result
    finally:
        if result is LockResult.HELD:
            unlock(descriptor)
