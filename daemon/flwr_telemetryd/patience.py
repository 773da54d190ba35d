"""Why the courier waits: a failure, the collector's word, or a rest after the way was free again.

* A *backoff* after each failure (``backoff.py``).
* A ``Retry-After``, which outlives a sidecar (``not_before.py``), and a random time more: the collector may
  have named one moment to a whole fleet.
* A *rest* after the first success that follows a failure: one body of each home has come at a random time,
  and what else the homes have must not come with it (``tests/benchmarks/fleet.py``).

Whoever asks for delivery skips all of it but the collector's own word. This room must never send.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.settings_file import Limits

from . import not_before
from .backoff import Backoff
from .clock import Clock
from .delivery import drawn_s

log = logging.getLogger("flwr_telemetryd")


class Patience:
    """One life's.

    Args:
        host: where a ``Retry-After`` is kept.
        clock: time and chance.
        limits: asked anew each time, since they may change.
        fails: whether the life before this one failed to the end.
    """

    def __init__(self, host: HostPaths, clock: Clock, limits: Callable[[], Limits], *, fails: bool) -> None:
        self._host = host
        self._clock = clock
        self._limits = limits
        self._backoff = Backoff(clock)
        self._told_at: float | None = None
        self._fails = fails
        self._spread_until = self._rests_until = -math.inf

    @property
    def failing_since(self) -> float | None:
        """Monotonic seconds of the first failure since the last success; None without one."""
        return self._backoff.since

    def failed(self, after_s: float | None) -> float:
        """Note a failure, and what the collector asked for; the seconds to wait."""
        limits, asked_s = self._limits(), after_s or 0.0
        asked_s += drawn_s(asked_s, limits.backoff_max_s, self._clock.random())
        wait_s = self._backoff.failed(limits, asked_s)
        if after_s is not None:
            self._told_at = self._clock.monotonic()
            try:
                not_before.keep(self._host, after_s)
            except (OSError, TelemetryError) as error:
                log.warning("the Retry-After is not kept beyond this life: %s", error)
        return wait_s

    def succeeded(self, *, waited_s: float, hurries: bool) -> float:
        """Note a success; the seconds to rest after it.

        Args:
            waited_s: how long the body that got through had waited.
            hurries: somebody asked for delivery, so that there is no rest.
        """
        failed = self._fails or self._told_at is not None or self._backoff.since is not None
        self._backoff.succeeded()
        self._fails, self._told_at, self._spread_until = False, None, -math.inf
        not_before.forget(self._host)
        if hurries or not failed:
            return 0.0
        wait_s = drawn_s(waited_s, self._limits().backoff_max_s, self._clock.random())
        self._rests_until = self._clock.monotonic() + wait_s
        return wait_s

    def skip(self) -> None:
        """Wait no longer this time; a ``Retry-After`` is not skipped."""
        self._backoff.skip()
        self._spread_until = self._rests_until = -math.inf

    def wait_s(self) -> float:
        """The seconds to wait, for whatever reason; 0 or less if there is none."""
        return max(self.barred_s(), self.rest_left_s())

    def rest_left_s(self) -> float:
        """The seconds that are left of a rest; 0 or less if there is none."""
        return self._rests_until - self._clock.monotonic()

    def barred_s(self) -> float:
        """The seconds to wait for the collector's sake; 0 or less if there are none."""
        if wait_s := self._backoff.wait_s():
            return wait_s
        not_before.put_right(self._host, self._file_system_now)
        left_s = not_before.remaining_s(self._host, self._file_system_now)
        now = self._clock.monotonic()
        if left_s > 0 and self._told_at is None:  # an earlier life was told
            self._told_at = now
            most_s = self._limits().backoff_max_s
            self._spread_until = now + left_s + drawn_s(left_s, most_s, self._clock.random())
        return max(left_s, self._spread_until - now)

    def _file_system_now(self) -> float:
        return files.now(self._host.state)
