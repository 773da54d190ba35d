"""Time and chance, as arguments: a test hands over its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
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
