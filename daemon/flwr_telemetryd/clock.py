"""Time and chance as arguments, so that a test can replace them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flwr_telemetry.named import NamedTuple


class Clock(NamedTuple):
    """The source of time and chance of a sidecar or a command."""

    monotonic: Callable[[], float] = time.monotonic
    """Seconds that never run backwards, for waits."""
    time_ns: Callable[[], int] = time.time_ns
    """Nanoseconds since the epoch, for names and for the day of the archive."""
    sleep: Callable[[float], None] = time.sleep
    """Waits a number of seconds."""
    random: Callable[[], float] = random.random
    """A number from 0 to 1, for jitter."""
    wait: Callable[[float, int], None] | None = None
    """Waits a number of seconds, or until a descriptor can be read; None if only ``sleep`` is there."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.fromtimestamp(max(self.time_ns(), 0) / 1e9, UTC)


class Timer:
    """Tells when an interval is over, again and again; ``monotonic`` as of ``Clock``."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last = -math.inf

    def is_due(self, interval_s: float) -> bool:
        """Whether ``interval_s`` seconds have passed since this was true last; true at the first call."""
        now = self._monotonic()
        if is_due := now - self._last >= interval_s:
            self._last = now
        return is_due


class SteadyTime:
    """The file system's time, without the steps forward during this run.

    If a clock is set forward by years, all older files look old, and a cap of age must not drop them.
    During this run, files written after such a step look younger than they are.

    Args:
        file_system_now: gives seconds since the epoch.
        monotonic: gives seconds that never run backwards.
    """

    def __init__(self, file_system_now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._file_system_now = file_system_now
        self._monotonic = monotonic
        self._ahead_s, self._lead_s = 0.0, math.inf

    def __call__(self) -> float:
        """The time now, in seconds since the epoch."""
        now = self._file_system_now()
        lead_s = now - self._monotonic()
        self._ahead_s = max(self._ahead_s + lead_s - self._lead_s, 0.0)  # 0 at the first call
        self._lead_s = lead_s
        return now - self._ahead_s
