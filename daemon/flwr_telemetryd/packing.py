"""One host's events become committed bodies: unfinished batches first, then seal, take, write, commit.

Each step is tried on its own (``Troubles``): what goes wrong with one batch stops neither the others nor
the delivery of what is committed. This room must never send.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from flwr_telemetry.layout import HostPaths
from flwr_telemetry.settings_file import Limits

from . import batch, segments
from .backoff import Troubles
from .clock import Clock
from .decisions import seal_is_due
from .state import State

MAX_UNFINISHED = 8

log = logging.getLogger("flwr_telemetryd")


class Packer:
    """Makes batches.

    Args:
        owner: this life of a sidecar.
        clock: time.
        state: where damage is counted.
        troubles: tries again what this machine is in the way of.
        may_go_on: consent, as it is now.
        hardware: the figures that are added to events of this host.

    Attributes:
        made: how many batches were committed.
        sealed: how many segments were sealed.
    """

    def __init__(
        self,
        owner: str,
        *,
        clock: Clock,
        state: State,
        troubles: Troubles,
        may_go_on: Callable[[], bool],
        hardware: Mapping[str, int],
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._state = state
        self._troubles = troubles
        self._may_go_on = may_go_on
        self._hardware = hardware
        self.made = self.sealed = 0
        self._first_seen: dict[str, tuple[int, float]] = {}

    def finish(self, host: HostPaths, limits: Limits, now: float | None, *, own: bool) -> None:
        """Finish the batches that were left unfinished; see ``batch.unfinished`` for ``now``."""
        for path in batch.unfinished(host, self._owner, now=now):
            if not self._may_go_on():
                return
            name = f"batch {path.name.partition('.')[0]}"
            again = functools.partial(self._again, host, path, limits, own=own)
            self._troubles.attempt(name, again, None)

    def pack(self, host: HostPaths, limits: Limits, *, takes: bool, at_once: bool, own: bool) -> None:
        """Seal if it is due, and take what is sealed.

        Args:
            host: whose spool.
            limits: the numbers.
            takes: whether new batches are made now.
            at_once: whether the burst window is not waited for.
            own: whether it is this host's.
        """
        self._troubles.attempt(
            f"seal {host.name}",
            lambda: self._seal(host, limits.burst_window_s, takes=takes, at_once=at_once),
            None,
        )
        # What cannot be made now must not pile up; but one bad batch must not stop the others either.
        while takes and self._may_go_on() and self._unfinished(host) < MAX_UNFINISHED:
            take = functools.partial(self._take, host, limits, own=own)
            if not self._troubles.attempt(f"take {host.name}", take, otherwise=False):
                return

    def _unfinished(self, host: HostPaths) -> int:
        """How many batches of our own could not be finished."""
        return sum(path.name.endswith(f".{self._owner}") for path in segments.listing(host.work))

    def _seal(self, host: HostPaths, window_s: float, *, takes: bool, at_once: bool) -> None:
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(host.events)
        if status is None or status.st_size == 0:
            self._first_seen.pop(host.name, None)
            return
        now = self._clock.monotonic()
        inode, since = self._first_seen.setdefault(host.name, (status.st_ino, now))
        if inode != status.st_ino:
            _, since = self._first_seen[host.name] = (status.st_ino, now)
        if seal_is_due(status.st_size, now - since, window_s, takes=takes, at_once=at_once):
            self.sealed += segments.seal(host, self._clock.time_ns()) is not None
            self._first_seen.pop(host.name, None)

    def _take(self, host: HostPaths, limits: Limits, *, own: bool) -> bool:
        taken = batch.take(host, self._owner, self._clock.time_ns())
        if taken is None:
            return False
        self._make(taken, limits, own=own)
        return True

    def _again(self, host: HostPaths, path: Path, limits: Limits, *, own: bool) -> None:
        self._make(batch.take_over(host, path, self._owner), limits, own=own)

    def _make(self, made: batch.Batch, limits: Limits, *, own: bool) -> None:
        hardware = self._hardware if own else {}
        written = batch.write(made, bursts=limits.bursts, hardware=hardware)
        committed = batch.commit(made)
        self.made += 1
        self._state.damaged += written.damaged
        log.info("batch %s: %d bodies, %d damaged", made.name, written.bodies, written.damaged)
        batch.discard(made.host, committed, self._clock.time_ns())
