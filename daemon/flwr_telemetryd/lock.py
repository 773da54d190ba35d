"""The sidecar's lock: held for its whole life, so that there is one on a host, and never unlinked."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from flwr_telemetry import files
from flwr_telemetry.launch import told_alive
from flwr_telemetry.layout import HostPaths

from .runtime import Mode
from .segments import Hold, wait_for_lock
from .state import State

WAIT_S = 1.0
"""A writer's probe holds the lock for a moment; it must not turn away the sidecar that it started."""

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Lock:
    """What came of asking for the lock.

    Attributes:
        host: whose.
        hold: ours, somebody else's, or none, because this file system knows no locks.
    """

    host: HostPaths
    hold: Hold
    _descriptor: int = -1

    @property
    def is_sole(self) -> bool:
        """Whether it is surely ours, so that no other sidecar lives on this host."""
        return self.hold is Hold.HELD

    def is_named(self) -> bool:
        """Whether its file is still there; if it was removed, another sidecar may hold a new one."""
        try:
            with files.stale_is_gone():
                named, ours = os.lstat(self.host.lock), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (named.st_ino, named.st_dev) == (ours.st_ino, ours.st_dev)


@contextlib.contextmanager
def held(host: HostPaths, wait_s: float, *, create: bool = False) -> Iterator[Lock]:
    """Hold the lock of a host, waiting for it at most ``wait_s``; yields what came of it.

    Where locks do not work, a sidecar that lives by its own word counts as the holder.
    """
    try:
        descriptor = files.open_file(host.lock, os.O_RDWR | (os.O_CREAT if create else 0))
    except FileNotFoundError:
        yield Lock(host, Hold.BUSY)  # everything was removed
        return
    try:
        hold = wait_for_lock(descriptor, wait_s, _POLL_S)
        busy = hold is Hold.NO_LOCKS and told_alive(host)
        yield Lock(host, Hold.BUSY if busy else hold, descriptor)
    finally:
        os.close(descriptor)


def ask_to_go(host: HostPaths) -> None:
    """Ask the sidecar on demand that holds the lock to end: a service takes its place, and its work.

    Nothing is lost by that, since it may be ended at any moment. A service is not asked; one is enough.
    """
    state = State.load(host)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if state.mode == Mode.ON_DEMAND.value and told_alive(host):
            os.kill(state.pid, signal.SIGTERM)
