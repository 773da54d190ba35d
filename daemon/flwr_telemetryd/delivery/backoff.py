"""When to try again: backoff, Retry-After, and jitter after an outage.

* A *backoff* follows each failure. It is drawn evenly from 0 to a bound that doubles (full jitter).
* A *Retry-After* outlives a sidecar (``delivery/retry_after.py``). A random time is added to it, because the
  collector may have named one moment to a whole fleet.
* A *spread* follows the first success after a failure. One body of each home came at a random time. The
  other bodies of the homes must not all come with it (``tests/benchmarks/fleet.py``).

A request for delivery ends every wait except a Retry-After. This module never sends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths
from flwr_telemetry.settings_file import Limits

from ..clock import Clock
from ..state import State
from . import retry_after

log = logging.getLogger("flwr_telemetryd")

_MOST_DOUBLINGS = 60


def backoff_s(failures: int, first_s: float, most_s: float, random: float) -> float:
    """The seconds to wait after a number of failures in a row: full jitter.

    Args:
        failures: 1 after the first failure.
        first_s: the bound after the first failure; it doubles with each further one.
        most_s: the bound never exceeds this.
        random: from 0 to 1.
    """
    return random * min(most_s, first_s * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


def jitter(from_s: float, most_s: float, random: float) -> float:
    """A random part of a time in seconds. It separates the requests of a fleet.

    Args:
        from_s: the age of the delivered body, or a ``Retry-After``. A negative age counts as 0, because it
            means that a clock was set back.
        most_s: the upper limit.
        random: from 0 to 1.
    """
    return random * min(most_s, max(from_s, 0.0))


class Backoff:
    """Counts the failures in a row of one step, or of the collector."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.succeeded()

    def succeeded(self) -> None:
        """Forget all failures."""
        self._failures, self._next_try = 0, 0.0
        self.since = math.inf
        """Monotonic seconds of the first failure after the last success; infinite without a failure."""

    def failed(self, limits: Limits, at_least_s: float = 0.0) -> float:
        """Note a failure; the seconds to wait, never less than ``at_least_s``."""
        now = self._clock.monotonic()
        self._failures += 1
        self.since = min(self.since, now)
        random = self._clock.random()
        wait_s = max(backoff_s(self._failures, limits.backoff_s, limits.backoff_max_s, random), at_least_s)
        self._next_try = now + wait_s
        return wait_s

    def reset(self) -> None:
        """End the current wait; the failures still count."""
        self._next_try = 0.0

    def wait_s(self) -> float:
        """The seconds that are left to wait; 0 without a wait."""
        return max(self._next_try - self._clock.monotonic(), 0.0)


class RetryPolicy:
    """Decides when the uploader of one run may send; ``state`` tells whether the run before failed.

    While nothing is sent (``upload = false``, told by ``is_kept``), nothing has to wait.
    """

    def __init__(
        self,
        host: HostPaths,
        clock: Clock,
        limits: Callable[[], Limits],
        state: State,
        is_kept: Callable[[], bool] = lambda: False,
    ) -> None:
        self._host = host
        self._clock = clock
        self._limits = limits
        self._is_kept = is_kept
        self._backoff = Backoff(clock)
        self._earlier_run_failed = bool(state.next_try)
        self._has_retry_after = False
        self._retry_after_until = self._spread_until = -math.inf

    @property
    def failing_since(self) -> float:
        """Monotonic seconds of the first failure after the last success; infinite without a failure."""
        return math.inf if self._is_kept() else self._backoff.since

    @property
    def is_failing(self) -> bool:
        """Whether the last request of this run failed."""
        return self.failing_since < math.inf

    def failed(self, after_s: float | None, *, needs_repair: bool = False) -> float:
        """Note a failure; the seconds to wait.

        Args:
            after_s: the collector's ``Retry-After`` in seconds; None without one.
            needs_repair: whether a person has to repair something first, so the wait is the longest at once.
        """
        asked_s, limits = after_s or 0.0, self._limits()
        at_least_s = max(asked_s + self._jitter(asked_s), limits.backoff_max_s if needs_repair else 0.0)
        wait_s = self._backoff.failed(limits, at_least_s)
        if after_s is not None:
            self._has_retry_after = True
            try:
                retry_after.keep(self._host, after_s)
            except (OSError, TelemetryError) as error:
                log.warning("the Retry-After is not kept for the next run: %s", error)
        return wait_s

    def succeeded(self, *, waited_s: float, flush_requested: bool) -> float:
        """Note a success; the seconds to wait before the next body.

        Args:
            waited_s: the age of the delivered body.
            flush_requested: a user asked for delivery, so there is no wait.
        """
        failed = self._earlier_run_failed or self._has_retry_after or self.is_failing
        self._backoff.succeeded()
        self._earlier_run_failed, self._has_retry_after, self._retry_after_until = False, False, -math.inf
        retry_after.forget(self._host)
        if flush_requested or not failed:
            return 0.0
        wait_s = self._jitter(waited_s)
        self._spread_until = self._clock.monotonic() + wait_s
        return wait_s

    def reset(self) -> None:
        """End the current waits, but not a ``Retry-After``."""
        self._backoff.reset()
        self._retry_after_until = self._spread_until = -math.inf

    def wait_s(self) -> float:
        """The seconds to wait for any reason; 0 or less without a wait."""
        return max(self.blocked_s(), self.spread_left_s())

    def spread_left_s(self) -> float:
        """The seconds to wait because an outage has just ended; 0 or less without a wait."""
        return 0.0 if self._is_kept() else self._spread_until - self._clock.monotonic()

    def blocked_s(self) -> float:
        """The seconds to wait because of a failure or a ``Retry-After``; 0 or less without a wait."""
        if self._is_kept():
            return 0.0
        if wait_s := self._backoff.wait_s():
            return wait_s
        now = self._clock.monotonic()
        retry_after.repair(self._host, self._file_system_now)
        left_s = retry_after.remaining_s(self._host, self._file_system_now)
        if left_s > 0 and not self._has_retry_after:  # an earlier run received it
            self._has_retry_after = True
            self._retry_after_until = now + left_s + self._jitter(left_s)
        return max(left_s, self._retry_after_until - now)

    def _jitter(self, from_s: float) -> float:
        return jitter(from_s, self._limits().backoff_max_s, self._clock.random())

    def _file_system_now(self) -> float:
        return files.now(self._host.state)
