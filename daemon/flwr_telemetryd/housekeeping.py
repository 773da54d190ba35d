"""What a sidecar does besides delivering: caps, heartbeat, and what others left behind.

Each has its own time, so that a look at a quiet home stays cheap.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings_file import Limits

from . import gone, guard, purge, retention, segments
from .clock import Clock, SteadyTime
from .state import State

HEARTBEAT_S = 30.0
RETENTION_S = 60.0

log = logging.getLogger("flwr_telemetryd")


class Housekeeping:
    """One life's.

    Args:
        home: whose.
        host: the sidecar's own.
        clock: time.
        file_system_now: the file system's, in seconds since the epoch.
    """

    def __init__(
        self, home: Home, host: HostPaths, clock: Clock, file_system_now: Callable[[], float]
    ) -> None:
        self._home = home
        self._host = host
        self._clock = clock
        self._steady_time = SteadyTime(file_system_now, clock.monotonic)
        self._file_system_now = file_system_now
        self._retention_at = self._heartbeat_at = self._gone_at = clock.monotonic()
        self._kept_caps_of = -1
        self._has_beaten = False

    def keep_caps(self, limits: Limits, sealed: int) -> None:
        """Hold the home to its caps, now and then, and whenever something came that is not delivered yet.

        Args:
            limits: the caps.
            sealed: how many segments were sealed in this life.
        """
        now = self._clock.monotonic()
        if now >= self._retention_at or sealed != self._kept_caps_of:
            self._retention_at = now + RETENTION_S
            self._kept_caps_of = sealed
            dropped = retention.enforce(self._home, limits, self._steady_time())
            if dropped:
                log.warning("%d events dropped: a cap of size or age was reached", dropped)

    def remove_gone(self, state: State, after_s: float) -> None:
        """Remove, now and then, the directories of hosts that are empty and gone; see ``gone.remove``."""
        now = self._clock.monotonic()
        if now >= self._gone_at:
            self._gone_at = now + min(after_s, RETENTION_S)
            if len(retention.hosts(self._home)) > 1:
                names = gone.remove(self._home, self._host, state, after_s, self._file_system_now())
                if names:
                    log.info("hosts that are gone, and had nothing left: %s", ", ".join(names))

    def beat(self) -> None:
        """Tell every host of the home that a service looks after it."""
        now = self._clock.monotonic()
        if now < self._heartbeat_at:
            return
        self._heartbeat_at = now + HEARTBEAT_S
        heartbeat = self._home.heartbeat(self._host.name)
        if self._has_beaten and heartbeat.exists():
            files.touch(heartbeat)  # the directory, by whose time others tell whether to look, stays as it is
        else:
            files.replace_bytes(heartbeat, b'{"pid": %d}\n' % os.getpid())
            self._has_beaten = True


def sweep_drafts(host: HostPaths) -> None:
    """Remove drafts of sidecars that were killed amid a write, and what a purge left, as far as that goes.

    Only for one that surely is alone on its host.
    """
    with contextlib.suppress(OSError, TelemetryError):
        guard.check(host)
        for directory in (host.root, host.rejected, host.sent):
            for name in segments.names(directory):
                if name.endswith(files.PART_SUFFIX):
                    (directory / name).unlink(missing_ok=True)
        purge.leftovers(host)
