"""Time and chance, as arguments: a test hands over its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


class Clock(NamedTuple):
    """What the sidecar knows of time.

    Attributes:
        monotonic: seconds that never run backwards, for waits.
        time_ns: nanoseconds since the epoch, for names and for the day of the archive.
        sleep: wait so many seconds.
        random: a number from 0 to 1, for jitter.
    """

    monotonic: Callable[[], float] = time.monotonic
    time_ns: Callable[[], int] = time.time_ns
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.fromtimestamp(max(self.time_ns(), 0) / 1e9, UTC)


class SteadyTime:
    """The file system's time, without what it was set forward during this life.

    A clock that is set right by years makes everything look old that was written before; a cap of age must
    not take that. What is written after such a step looks younger than it is, as long as this life lasts.

    Args:
        file_system_now: seconds since the epoch.
        monotonic: seconds that never run backwards.
    """

    def __init__(self, file_system_now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._file_system_now = file_system_now
        self._monotonic = monotonic
        self._ahead_s = 0.0
        self._last: tuple[float, float] | None = None

    def __call__(self) -> float:
        """The time now, in seconds since the epoch."""
        now, elapsed = self._file_system_now(), self._monotonic()
        if self._last is not None:
            stepped_s = (now - self._last[0]) - (elapsed - self._last[1])
            self._ahead_s = max(self._ahead_s + stepped_s, 0.0)
        self._last = (now, elapsed)
        return now - self._ahead_s
