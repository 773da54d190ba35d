"""How a sidecar sleeps between two looks: a service ever longer while nothing happens, and by ``stat`` alone.

A sidecar on demand lives for a minute or so and looks four times a second, so that who asks for delivery is
heard. A service lives for months. While nothing changes its sleep doubles up to half a minute, and on waking
it asks a few files for their times before it looks at anything. This room must never list a directory that
did not change, and never write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

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
    """

    def __init__(self, home: Home, clock: Clock, wakes: Callable[[], bool]) -> None:
        self._home = home
        self._clock = clock
        self._wakes = wakes
        self._known: list[HostPaths] = []
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
        telemetry = _times([self._home.telemetry])
        if telemetry != self._telemetry:
            self._telemetry, self._known = telemetry, hosts(self._home)
        return telemetry, [_times([host.spool, host.events, host.outbox]) for host in self._known]


def _times(paths: Iterable[os.PathLike[str]]) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return found
