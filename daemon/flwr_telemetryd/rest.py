"""How a sidecar sleeps between two looks: while nothing changes, and by ``stat`` alone.

A service lives for months. While nothing changes its sleep doubles up to half a minute, and on waking it
asks a few files for their times before it looks at anything. A sidecar on demand lives for a minute or so; it
wakes four times a second, so that who asks for delivery is heard, and looks for that and for events alone.
This room must never list a directory that did not change, and never write.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from flwr_telemetry.layout import Home, HostPaths

from .clock import Clock
from .decisions import LONGEST_NAP_S, POLL_S
from .retention import hosts


class Rest:
    """One life's.

    Args:
        home: whose.
        clock: time.
        wakes: asked on every waking; whether something other than the files is a reason to look.
        only: the one host whose files are asked; None for all of the home.
    """

    def __init__(
        self, home: Home, clock: Clock, wakes: Callable[[], bool], only: HostPaths | None = None
    ) -> None:
        self._home = home
        self._clock = clock
        self._wakes = wakes
        self._is_alone = only is not None
        self._paths = [] if only is None else [str(only.flush), str(only.events), str(only.lock)]
        self._telemetry: object = None
        self._times: object = None
        self._pause_s = POLL_S
        self._news_at = clock.monotonic()

    def note(self) -> None:
        """Note how things stand, before a look: what changes while it lasts is a reason for another one."""
        self._times = self._signature()

    def calm_s(self) -> float:
        """The seconds since a waking at which something had changed."""
        return self._clock.monotonic() - self._news_at

    def sleep(self, longest_s: float, most_s: float) -> None:
        """Sleep until something has changed in the home since ``note``.

        Args:
            longest_s: between two looks at the files' times.
            most_s: in all; then there is something to do even if nothing changed.
        """
        now = self._clock.monotonic()
        end = now + most_s
        while True:
            self._clock.sleep(min(self._pause_s, longest_s, max(end - now, POLL_S)))
            now = self._clock.monotonic()
            if self._wakes() or self._signature() != self._times:
                self._pause_s, self._news_at = POLL_S, now
                return
            self._pause_s = min(2 * self._pause_s, LONGEST_NAP_S)
            if now >= end:
                return

    def _signature(self) -> object:
        """What changes whenever a file moves or grows, but for the books of the sidecars."""
        if self._is_alone:
            return list(map(_times, self._paths))
        telemetry = _times(str(self._home.telemetry))
        if telemetry != self._telemetry:
            self._telemetry = telemetry
            self._paths = [path for host in hosts(self._home) for path in _paths(host)]
        return telemetry, list(map(_times, self._paths))


def _paths(host: HostPaths) -> list[str]:
    """As texts: to put a path together takes longer than to ask for its times."""
    return list(map(str, (host.spool, host.flush, host.events, host.outbox)))


def _times(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
