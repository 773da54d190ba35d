"""Local faults: steps that fail on this machine, each with its own backoff.

A full disk or an unreadable file delays only the step that needs it. It never counts as a collector that
cannot be reached.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.settings_file import Limits

from ..clock import Clock
from ..errors import LostRaceError
from ..runtime import P, T
from ..state import State
from .backoff import Backoff

log = logging.getLogger("flwr_telemetryd")

_BLOCKING_STEPS = {"host", "seal", "take", "delivery"}
"""While one of these fails, nothing of this host is delivered."""


class LocalFaults:
    """Runs the steps of one run, and notes which of them failed."""

    def __init__(self, clock: Clock, state: State, limits: Callable[[], Limits]) -> None:
        self._clock = clock
        self._state = state
        self._limits = limits
        self._backoffs: dict[str, Backoff] = {}
        self._tried: set[str] = set()

    def run(self, name: str, step: Callable[P, T], default: T, *args: P.args, **options: P.kwargs) -> T:
        """Run ``step(*args, **options)``, unless a step of this name failed and its backoff lasts.

        Returns:
            The result of the step; ``default`` if the step fails or has to wait.
        """
        if backoff := self._backoffs.get(name):
            self._tried.add(name)
            if backoff.wait_s() > 0:
                return default
        try:
            result = step(*args, **options)
            self._backoffs.pop(name, None)
            return result
        except LostRaceError as error:
            log.info("another sidecar has batch %s", error)
        except (OSError, TelemetryError, ImportError) as error:  # the program may have been removed
            self._note(name, str(error))
        except Exception as error:
            # A defect in one step must not stop the other steps. The log gets the traceback.
            log.exception("%s", name)
            self._note(name, f"unexpected {type(error).__name__}")
        return default

    def end_pass(self) -> None:
        """Forget the faults whose step was not run in this pass, because nothing is left to do for it."""
        self._backoffs = {name: backoff for name, backoff in self._backoffs.items() if name in self._tried}
        self._tried = set()

    def reset(self) -> None:
        """End all current waits."""
        for backoff in self._backoffs.values():
            backoff.reset()

    def since(self) -> float:
        """Monotonic seconds of the oldest fault that lasts; infinite without a fault."""
        return min((backoff.since for backoff in self._backoffs.values()), default=math.inf)

    def blocks_delivery(self) -> bool:
        """Whether a fault lasts that stops the delivery of everything of this host."""
        return not _BLOCKING_STEPS.isdisjoint(self._backoffs)

    def _note(self, name: str, reason: str) -> None:
        self._tried.add(name)
        wait_s = self._backoffs.setdefault(name, Backoff(self._clock)).failed(self._limits())
        self._state.last_error = f"{name}: {reason}"
        log.warning("%s: %s; next try in %.1f s", name, reason, wait_s)
