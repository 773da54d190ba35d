"""Events become committed bodies: unfinished batches first, then seal, take, write, commit.

Whosever events they are, the batch is made on this host, so that the events of all hosts that wait at a
time are coalesced, and whoever comes after a death finds them here.

Each step is tried on its own (``Troubles``): what goes wrong with one batch stops neither the others nor
the delivery of what is committed. This room must never send.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flwr_telemetry.layout import HostPaths
from flwr_telemetry.settings_file import Limits

from . import batch, discarding, segments
from .backoff import Troubles
from .clock import Clock
from .decisions import seal_is_due
from .state import State

MAX_UNFINISHED = 8

log = logging.getLogger("flwr_telemetryd")


class Packer:
    """Makes batches.

    Args:
        host: this one.
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
        host: HostPaths,
        owner: str,
        *,
        clock: Clock,
        state: State,
        troubles: Troubles,
        may_go_on: Callable[[], bool],
        hardware: Mapping[str, int],
    ) -> None:
        self._host = host
        self._owner = owner
        self._clock = clock
        self._state = state
        self._troubles = troubles
        self._may_go_on = may_go_on
        self._hardware = hardware
        self.made = self.sealed = 0
        self._first_seen: dict[str, tuple[int, float]] = {}

    def finish(self, host: HostPaths, limits: Limits, now: float | None) -> None:
        """Finish the batches that a host left unfinished; see ``batch.unfinished`` for ``now``."""
        for path in batch.unfinished(host, self._owner, now=now):
            if not self._may_go_on():
                return
            name = f"batch {path.name.partition('.')[0]}"
            self._troubles.attempt(name, functools.partial(self._again, path, limits), None)

    def pack(self, limits: Limits, *, takes: bool, at_once: bool) -> None:
        """Seal this host's segment if it is due, and take what is sealed.

        Args:
            limits: the numbers.
            takes: whether new batches are made now.
            at_once: whether the burst window is not waited for.
        """
        self._seal(self._host, limits, takes=takes, at_once=at_once)
        if takes:
            self._take_all(limits, ())

    def window_s(self, limits: Limits) -> float:
        """The seconds that are left of the burst window of this host's open segment; 0 if none is known."""
        if self._host.name not in self._first_seen:
            return 0.0
        _, since = self._first_seen[self._host.name]
        return max(since + limits.burst_window_s - self._clock.monotonic(), 0.0)

    def adopt(self, hosts: Sequence[HostPaths], limits: Limits) -> None:
        """Seal what other hosts have spooled, and take it all together."""
        for host in hosts:
            if self._may_go_on():
                self._seal(host, limits, takes=True, at_once=True)
        self._take_all(limits, hosts)

    def _take_all(self, limits: Limits, adopted: Sequence[HostPaths]) -> None:
        # What cannot be made now must not pile up; but one bad batch must not stop the others either.
        take = functools.partial(self._take, limits, adopted)
        name = "adopt" if adopted else "take"
        while self._may_go_on() and self._unfinished() < MAX_UNFINISHED:
            if not self._troubles.attempt(name, take, otherwise=False):
                return

    def _unfinished(self) -> int:
        """How many batches of our own could not be finished."""
        return sum(path.name.endswith(f".{self._owner}") for path in segments.listing(self._host.work))

    def _seal(self, host: HostPaths, limits: Limits, *, takes: bool, at_once: bool) -> None:
        seal = functools.partial(self._seal_if_due, host, limits, takes=takes, at_once=at_once)
        name = "seal" if host == self._host else f"seal {host.name}"
        self._troubles.attempt(name, seal, None)

    def _seal_if_due(self, host: HostPaths, limits: Limits, *, takes: bool, at_once: bool) -> None:
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
        if seal_is_due(status.st_size, now - since, limits.burst_window_s, takes=takes, at_once=at_once):
            self.sealed += segments.seal(host, self._clock.time_ns()) is not None
            self._first_seen.pop(host.name, None)

    def _take(self, limits: Limits, adopted: Sequence[HostPaths]) -> bool:
        taken = batch.take(self._host, self._owner, self._clock.time_ns(), adopted)
        if taken is None:
            return False
        self._make(taken, limits)
        return True

    def _again(self, path: Path, limits: Limits) -> None:
        self._make(batch.take_over(self._host, path, self._owner), limits)

    def _make(self, made: batch.Batch, limits: Limits) -> None:
        hardware = {} if made.is_adopted else self._hardware
        written = batch.write(made, bursts=limits.bursts, hardware=hardware, may_go_on=self._may_go_on)
        committed = batch.commit(made)
        self.made += 1
        self._state.damaged += written.damaged
        log.info("batch %s: %d bodies, %d damaged", made.name, written.bodies, written.damaged)
        if written.forgotten:
            log.info("batch %s: %d events of a forgotten source ID left out", made.name, written.forgotten)
        discarding.discard(made.host, committed, self._clock.time_ns())
