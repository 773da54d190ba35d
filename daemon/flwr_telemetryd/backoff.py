"""A wait after each failure, growing with the failures in a row; and what goes wrong on this machine.

The courier has one backoff for the collector. Everything local (a full disk, a file that cannot be read)
has one of its own for each thing that is tried, so that one bad file delays nothing but itself, and no
local fault ever looks like a collector that cannot be reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.settings_file import Limits

from .clock import Clock
from .delivery import backoff_s
from .errors import LetGoError
from .state import State

T = TypeVar("T")

log = logging.getLogger("flwr_telemetryd")

_GRAVE = {"host", "seal", "take", "delivery"}
"""What the steps are called that all others come after."""


class Backoff:
    """Failures in a row of one thing.

    Args:
        clock: time and chance.

    Attributes:
        since: monotonic seconds of the first of them; None after a success.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._next_try = 0.0
        self.since: float | None = None

    def failed(self, limits: Limits, at_least_s: float = 0.0) -> float:
        """Note a failure; the seconds to wait, never less than ``at_least_s``."""
        now = self._clock.monotonic()
        self._failures += 1
        self.since = now if self.since is None else self.since
        random = self._clock.random()
        wait_s = backoff_s(self._failures, limits.backoff_s, limits.backoff_max_s, random)
        wait_s = max(wait_s, at_least_s)
        self._next_try = now + wait_s
        return wait_s

    def succeeded(self) -> None:
        """Forget all failures."""
        self._failures, self._next_try, self.since = 0, 0.0, None

    def skip(self) -> None:
        """Do not wait any longer this time."""
        self._next_try = 0.0

    def wait_s(self) -> float:
        """The seconds that are left to wait; 0 if none are."""
        return max(self._next_try - self._clock.monotonic(), 0.0)

    def may_try(self) -> bool:
        """Whether the wait is over."""
        return self.wait_s() <= 0


class Troubles:
    """Steps that may fail on this machine, each with its own backoff.

    Args:
        clock: time and chance.
        state: where the last word of a trouble is noted.
        limits: asked anew for each failure, since they may change.
    """

    def __init__(self, clock: Clock, state: State, limits: Callable[[], Limits]) -> None:
        self._clock = clock
        self._state = state
        self._limits = limits
        self._backoffs: dict[str, Backoff] = {}
        self._tried: set[str] = set()

    def attempt(self, name: str, step: Callable[[], T], otherwise: T) -> T:
        """Do a step, unless it failed lately.

        Args:
            name: of what the step is about; it has a backoff of its own.
            step: what to do.
            otherwise: the answer if it fails, or has to wait.
        """
        backoff = self._backoffs.get(name)
        if backoff is not None:
            self._tried.add(name)
            if not backoff.may_try():
                return otherwise
        try:
            result = step()
        except LetGoError as other:
            log.info("another sidecar has batch %s", other)
            return otherwise
        except (OSError, TelemetryError) as error:
            self._note(name, str(error))
            return otherwise
        except Exception as error:
            # A defect of ours must not stop what else there is to do; it is told in full, and it counts.
            log.exception("%s", name)
            self._note(name, f"unexpected {type(error).__name__}")
            return otherwise
        self._backoffs.pop(name, None)
        return result

    def new_look(self) -> None:
        """Forget the troubles with what was not tried since the last look: it is gone."""
        self._backoffs = {name: backoff for name, backoff in self._backoffs.items() if name in self._tried}
        self._tried = set()

    def skip(self) -> None:
        """Do not wait any longer this time."""
        for backoff in self._backoffs.values():
            backoff.skip()

    def since(self) -> float | None:
        """Monotonic seconds of the oldest trouble that lasts; None without one."""
        return min((backoff.since for backoff in self._backoffs.values() if backoff.since), default=None)

    def grave(self) -> bool:
        """Whether one lasts that keeps everything of this host from being delivered."""
        return any(backoff.since is not None for name, backoff in self._backoffs.items() if name in _GRAVE)

    def _note(self, name: str, word: str) -> None:
        self._tried.add(name)
        backoff = self._backoffs.setdefault(name, Backoff(self._clock))
        wait_s = backoff.failed(self._limits())
        self._state.last_error = f"{name}: {word}"
        log.warning("%s: %s; again in %.1f s", name, word, wait_s)
