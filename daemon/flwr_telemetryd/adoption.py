"""Adoption: the spools, unfinished batches and outboxes that other hosts left behind become this host's.

Every step is a rename, so two sidecars that adopt at the same time share the work and nothing is sent twice.
This module must never send, and never touch a host that has a service of its own.
"""

from __future__ import annotations

from . import outbox, segments
from .batcher import Batcher
from .outbox import Queue
from .runtime import Mode, Runtime
from .schedule import adopt_after_s, adoption_interval_s
from .serving import adoptable


class Adoption:
    """Looks at the other hosts of the home, in intervals."""

    def __init__(self, runtime: Runtime, queue: Queue, batcher: Batcher) -> None:
        self._runtime = runtime
        self._queue = queue
        self._batcher = batcher
        self._next = runtime.clock.monotonic()

    def run(self) -> None:
        """Adopt what is there, if the interval is over."""
        mode, now = self._runtime.mode, self._runtime.clock.monotonic()
        if now >= self._next:
            if mode is not Mode.ONCE:
                self._next = now + adoption_interval_s(mode, self._runtime.limits)
            self._runtime.faults.run("adoption", self._adopt, None)

    def _adopt(self) -> None:
        runtime, own = self._runtime, self._runtime.host
        after_s = adopt_after_s(runtime.mode, runtime.limits)
        # A process on a node cannot signal a service elsewhere; it asks by touching `spool/flush`.
        if_asked = runtime.mode is Mode.SERVICE
        found = list(adoptable(runtime.home, own.name, after_s, runtime.file_system_now, if_asked=if_asked))
        for host in found:
            host.flush.unlink(missing_ok=True)
            if not runtime.checkpoint():
                return
            self._queue.repair(host)
            for directory in segments.listing(host.outbox):
                runtime.faults.run(f"outbox/{directory.name}", outbox.adopt, None, directory, own)
            if segments.listing(host.work):
                self._batcher.resume(host, runtime.file_system_now())
        if found:
            self._batcher.adopt(found)
