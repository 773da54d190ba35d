"""Adoption: this host takes over the spools, unfinished batches and outboxes that other hosts left behind.

Every step is a rename, so two sidecars that adopt at the same time share the work, and nothing is sent twice.
This module never sends, and never touches a host that has a service of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from flwr_telemetry import files, presence
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.named import NamedTuple

from ..clock import Timer
from ..outbox.backlog import is_waiting
from ..outbox.queue import Queue, adopt
from ..runtime import Mode, Runtime
from ..spool import segments
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
            at_once: whether every host is due now, because the home may end with this sidecar. A shared home
                does not.
        """
        mode, limits = self._runtime.mode, self._runtime.limits
        if self._timer.is_due(0.0 if at_once or mode is Mode.ONCE else adoption_interval_s(mode, limits)):
            self._runtime.faults.run("adoption", self._adopt, None, at_once)

    def _adopt(self, at_once: bool) -> None:
        runtime, own = self._runtime, self._runtime.host
        after_s = adopt_after_s(runtime.mode, runtime.limits)
        if at_once and not runtime.is_shared:
            after_s = -math.inf
        # A process on a node cannot signal a service elsewhere. It asks by touching `spool/flush`.
        if_asked = runtime.mode is Mode.SERVICE
        now, is_shared = runtime.file_system_now, runtime.is_shared
        found = list(adoptable(runtime.home, own.name, after_s, now, if_asked=if_asked, is_shared=is_shared))
        for host, is_quiet in found:
            if is_quiet or if_asked:
                host.flush.unlink(missing_ok=True)
            if not runtime.checkpoint():
                return
            if not is_quiet:
                continue
            self._queue.repair(host)
            for directory in listing(host.outbox):
                runtime.faults.run(f"outbox/{directory.name}", adopt, None, directory, own)
            if listing(host.work):
                self._batcher.resume(host, runtime.file_system_now())
        if found:
            quiet = {host.name for host, is_quiet in found if is_quiet}
            self._batcher.adopt([host for host, _ in found], quiet)


class Due(NamedTuple):
    """A host from which to adopt."""

    host: HostPaths
    is_quiet: bool
    """Whether everything is adopted. From a host that writes, only its whole segments are."""


def adoptable(
    home: Home,
    own: str,
    after_s: float,
    now: Callable[[], float],
    *,
    if_asked: bool = False,
    is_shared: bool = False,
) -> Iterator[Due]:
    """The other hosts of a home that have something to deliver and no service.

    Args:
        home: the home.
        own: the name of this host.
        after_s: for how long their spools must not have grown; or the age of a whole segment in them.
        now: gives the file system's time; called once, and only if another host has something to deliver.
        if_asked: whether a host that asks for delivery now is due at once.
        is_shared: whether the home is shared, so that no lock holds off a writer that is heard at once.
    """
    waiting = [host for host in known_hosts(home) if host.name != own and is_waiting(host)]
    if waiting:
        time = now()
        served = presence.served_hosts(home, lambda: time)
        for host in waiting:
            grew_at = max(presence.modification_times(host.events, host.spool), default=0.0)
            is_asked = if_asked and host.flush.exists()
            is_quiet = files.age_s(time, grew_at) >= after_s or (is_asked and not is_shared)
            is_due = is_quiet or is_asked or _age_of_whole_s(host, time) >= after_s
            if is_due and host.name not in served:
                yield Due(host, is_quiet)


def _age_of_whole_s(host: HostPaths, now: float) -> float:
    """The age of a host's oldest whole segment; minus infinity without one."""
    oldest = (host.spool / name for name in segments.whole_segments(host)[:1])
    return max((files.age_s(now, time) for time in presence.modification_times(*oldest)), default=-math.inf)
