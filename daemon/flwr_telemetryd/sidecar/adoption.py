"""Adoption: this host takes over the spools, unfinished batches and outboxes that other hosts left behind.

Every step is a rename, so two sidecars that adopt at the same time share the work, and nothing is sent twice.
This module never sends, and never touches a host that has a service of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator

from flwr_telemetry import files, mounts, presence
from flwr_telemetry.layout import Home, HostPaths

from ..clock import Timer
from ..outbox.backlog import is_waiting
from ..outbox.queue import Queue, adopt
from ..runtime import Mode, Runtime
from ..spool.directory import known_hosts, listing
from .batcher import Batcher
from .schedule import adopt_after_s, adoption_interval_s


class Adoption:
    """Adopts from the other hosts of the home, in intervals."""

    def __init__(self, runtime: Runtime, queue: Queue, batcher: Batcher) -> None:
        self._runtime = runtime
        self._queue = queue
        self._batcher = batcher
        self._timer = Timer(runtime.clock.monotonic)

    def run(self, *, at_once: bool = False) -> None:
        """Adopt from hosts that are due, if the interval is over; with ``--once``, at each pass.

        Args:
            at_once: whether every host is due now, because the home may end with this sidecar; only where
                this machine keeps the home. Elsewhere an adoption beside a writer may cost an event.
        """
        mode, limits = self._runtime.mode, self._runtime.limits
        if self._timer.is_due(0.0 if at_once or mode is Mode.ONCE else adoption_interval_s(mode, limits)):
            self._runtime.faults.run("adoption", self._adopt, None, at_once)

    def _adopt(self, at_once: bool) -> None:
        runtime, own = self._runtime, self._runtime.host
        after_s = adopt_after_s(runtime.mode, runtime.limits)
        if at_once and not mounts.is_shared_device(os.stat(own.telemetry).st_dev):
            after_s = -math.inf
        # A process on a node cannot signal a service elsewhere. It asks by touching `spool/flush`.
        if_asked = runtime.mode is Mode.SERVICE
        found = list(adoptable(runtime.home, own.name, after_s, runtime.file_system_now, if_asked=if_asked))
        for host in found:
            host.flush.unlink(missing_ok=True)
            if not runtime.checkpoint():
                return
            self._queue.repair(host)
            for directory in listing(host.outbox):
                runtime.faults.run(f"outbox/{directory.name}", adopt, None, directory, own)
            if listing(host.work):
                self._batcher.resume(host, runtime.file_system_now())
        if found:
            self._batcher.adopt(found)


def adoptable(
    home: Home, own: str, after_s: float, now: Callable[[], float], *, if_asked: bool = False
) -> Iterator[HostPaths]:
    """The other hosts of a home that have something to deliver and no service.

    Args:
        home: the home.
        own: the name of this host.
        after_s: for how long their spools must not have grown.
        now: gives the file system's time; called once, and only if another host has something to deliver.
        if_asked: whether a host that asks for delivery now is due at once.
    """
    waiting = [host for host in known_hosts(home) if host.name != own and is_waiting(host)]
    if waiting:
        time = now()
        served = presence.served_hosts(home, lambda: time)
        for host in waiting:
            grew_at = max(presence.modification_times(host.events, host.spool), default=0.0)
            is_due = files.age_s(time, grew_at) >= after_s or (if_asked and host.flush.exists())
            if is_due and host.name not in served:
                yield host
