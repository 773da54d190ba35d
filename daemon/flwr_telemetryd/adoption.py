"""What other hosts of the home left behind becomes this host's work: spools, unfinished batches, outboxes.

Everything is taken by a rename, so that of two sidecars that adopt at the same time each has its part, and
nothing is sent by both. This room must never send, and never touch a host that a service of its own serves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings_file import Limits

from . import outbox, segments
from .backoff import Troubles
from .clock import Clock
from .decisions import Mode, adopt_after_s, adoption_interval_s
from .packing import Packer
from .serving import adoptable


class Adoption:
    """One life's.

    Args:
        home: whose.
        mode: how old an idle spool has to be depends on it.
        clock: time.
        packer: makes the batches.
        troubles: tries again what this machine is in the way of.
        file_system_now: the file system's time, in seconds since the epoch.
        may_go_on: consent, as it is now.
        put_right: finishes what a death left half done in the outbox of a host.
    """

    def __init__(
        self,
        home: Home,
        mode: Mode,
        *,
        clock: Clock,
        packer: Packer,
        troubles: Troubles,
        file_system_now: Callable[[], float],
        may_go_on: Callable[[], bool],
        put_right: Callable[[HostPaths], None],
    ) -> None:
        self._home = home
        self._host = home.host()
        self._mode = mode
        self._clock = clock
        self._packer = packer
        self._troubles = troubles
        self._file_system_now = file_system_now
        self._may_go_on = may_go_on
        self._put_right = put_right
        self._next = clock.monotonic()

    def look(self, limits: Limits) -> None:
        """Take what is there, if it is time to look for it."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        if self._mode is not Mode.ONCE:
            self._next = now + adoption_interval_s(self._mode, limits)
        self._troubles.attempt("adoption", functools.partial(self._adopt, limits), None)

    def _adopt(self, limits: Limits) -> None:
        after_s = adopt_after_s(self._mode, limits)
        if_asked = self._mode is Mode.SERVICE  # a process on a node can only leave word
        found = list(
            adoptable(self._home, self._host.name, after_s, self._file_system_now, if_asked=if_asked)
        )
        for host in found:
            host.flush.unlink(missing_ok=True)
            if not self._may_go_on():
                return
            self._put_right(host)
            for directory in segments.listing(host.outbox):
                move = functools.partial(outbox.adopt, directory, self._host)
                self._troubles.attempt(f"outbox/{directory.name}", move, None)
            if segments.listing(host.work):
                self._packer.finish(host, limits, self._file_system_now())
        if found:
            self._packer.adopt(found, limits)
