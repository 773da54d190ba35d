"""The batcher: finishes unfinished batches, seals this host's segment, and turns segments into bodies.

Batches are built on this host even for adopted events: all coalesce together, and recovery looks in one
place. Each step has its own local fault, so a failing batch stops neither the other batches nor the delivery
of committed bodies. This module must never send.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from flwr_telemetry.layout import HostPaths

from . import batch, discarding, hardware, segments
from .runtime import Runtime
from .schedule import seal_is_due

MAX_UNFINISHED = 8

log = logging.getLogger("flwr_telemetryd")


class Batcher:
    """Makes the batches of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._host = runtime.host
        self._owner = secrets.token_hex(8)
        self._hardware = hardware.figures()
        self._first_seen: dict[str, tuple[int, float]] = {}
        self.made = 0
        """Batches committed."""
        self.sealed = 0
        """Segments sealed."""

    def resume(self, host: HostPaths, now: float | None) -> None:
        """Finish the batches that a host left unfinished; see ``batch.unfinished`` for ``now``."""
        for path in batch.unfinished(host, self._owner, now=now):
            if not self._runtime.checkpoint():
                return
            name = f"batch {path.name.partition('.')[0]}"
            self._runtime.faults.run(name, functools.partial(self._resume_one, path), None)

    def run(self, *, may_batch: bool, immediately: bool) -> None:
        """Seal this host's segment if it is due, and make batches of its sealed segments.

        Args:
            may_batch: whether new batches are made now.
            immediately: whether to seal before the burst window is over.
        """
        self._seal(self._host, may_batch=may_batch, immediately=immediately)
        if may_batch:
            self._take_all(())

    def window_s(self) -> float:
        """The seconds that are left of the burst window of this host's open segment; 0 if none is known."""
        if self._host.name not in self._first_seen:
            return 0.0
        _, since = self._first_seen[self._host.name]
        return max(since + self._runtime.limits.burst_window_s - self._runtime.clock.monotonic(), 0.0)

    def adopt(self, hosts: Sequence[HostPaths]) -> None:
        """Seal the segments of other hosts, and make batches of them together."""
        for host in hosts:
            if self._runtime.checkpoint():
                self._seal(host, may_batch=True, immediately=True)
        self._take_all(hosts)

    def _take_all(self, adopted: Sequence[HostPaths]) -> None:
        # Unfinished batches must not pile up, but one bad batch must not stop the others either.
        take = functools.partial(self._take, adopted)
        name = "adopt" if adopted else "take"
        while self._runtime.checkpoint() and self._unfinished() < MAX_UNFINISHED:
            if not self._runtime.faults.run(name, take, default=False):
                return

    def _unfinished(self) -> int:
        """How many batches of this run could not be finished."""
        return sum(path.name.endswith(f".{self._owner}") for path in segments.listing(self._host.work))

    def _seal(self, host: HostPaths, *, may_batch: bool, immediately: bool) -> None:
        seal = functools.partial(self._seal_if_due, host, may_batch=may_batch, immediately=immediately)
        name = "seal" if host == self._host else f"seal {host.name}"
        self._runtime.faults.run(name, seal, None)

    def _seal_if_due(self, host: HostPaths, *, may_batch: bool, immediately: bool) -> None:
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(host.events)
        if status is None or status.st_size == 0:
            self._first_seen.pop(host.name, None)
            return
        now = self._runtime.clock.monotonic()
        inode, since = self._first_seen.setdefault(host.name, (status.st_ino, now))
        if inode != status.st_ino:
            _, since = self._first_seen[host.name] = (status.st_ino, now)
        window_s = self._runtime.limits.burst_window_s
        if seal_is_due(status.st_size, now - since, window_s, may_batch=may_batch, immediately=immediately):
            self.sealed += segments.seal(host, self._runtime.clock.time_ns()) is not None
            self._first_seen.pop(host.name, None)

    def _take(self, adopted: Sequence[HostPaths]) -> bool:
        taken = batch.take(self._host, self._owner, self._runtime.clock.time_ns(), adopted)
        if taken is not None:
            self._make(taken)
        return taken is not None

    def _resume_one(self, path: Path) -> None:
        self._make(batch.take_over(self._host, path, self._owner))

    def _make(self, made: batch.Batch) -> None:
        written = batch.write(
            made,
            bursts=self._runtime.limits.bursts,
            hardware={} if made.is_adopted else self._hardware,
            checkpoint=self._runtime.checkpoint,
        )
        committed = batch.commit(made)
        self.made += 1
        self._runtime.state.damaged += written.damaged
        log.info("batch %s: %d bodies, %d damaged", made.name, written.bodies, written.damaged)
        discarding.discard(made.host, committed, self._runtime.clock.time_ns())
