"""When a sidecar ends: the memory between two passes that ``schedule.py`` decides by. It never writes."""

from __future__ import annotations

import math
import os

from flwr_telemetry.pending import Waiting

from ..delivery.backoff import RetryPolicy
from ..outbox.backlog import anything_waits
from ..runtime import Mode, Runtime
from .batcher import Batcher
from .schedule import ExitReason, reason_to_end

PROGRAM = __file__


def _program() -> tuple[int, int] | None:
    """A value that changes when this program is installed again; None if it is not there."""
    try:
        status = os.stat(PROGRAM)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


_AT_START = _program()


def is_installed() -> bool:
    """Whether the program of this process is still there, and the same; else the next import may fail."""
    return _program() == _AT_START


class ExitPolicy:
    """Decides whether the sidecar ends after a pass."""

    def __init__(self, runtime: Runtime, batcher: Batcher, retry_policy: RetryPolicy) -> None:
        self._runtime = runtime
        self._clock = runtime.clock
        self._batcher = batcher
        self._retry_policy = retry_policy
        # Other hosts' sidecars deliver the batches that they adopted.
        self._at_start = Waiting(runtime.host, adopted=False) if runtime.mode is Mode.ONCE else None
        self._busy_at = runtime.clock.monotonic()
        self._blocked_since = self._failing_since = math.inf
        self._progress: tuple[int, ...] = ()
        self.waits = False
        """Whether anything was undelivered after the last pass."""
        self.blocked_s = 0.0
        """The seconds after the last pass in which no request may be tried."""

    def reason(self) -> ExitReason | None:
        """Why to end after this pass, or None."""
        now, waited = self._clock.monotonic(), self.waits
        waits = self.waits = self._runtime.faults.run("backlog", self._waits, True)
        if waits or waited:  # the last event may have been delivered at any moment between two passes
            self._busy_at = now
        self.blocked_s = self._retry_policy.blocked_s()
        may_try = self.blocked_s <= 0  # the spread after an outage is no reason to end
        # If nothing failed in this run, a Retry-After of an earlier run may block it.
        self._blocked_since = min(self._blocked_since, now) if waits and not may_try else math.inf
        failures = (self._retry_policy.failing_since, self._runtime.faults.since(), self._blocked_since)
        self._failing_since = min(failures)
        quiet_s, failing_s, stuck = now - self._busy_at, now - self._failing_since, self._is_stuck()
        mode, limits = self._runtime.mode, self._runtime.limits
        return reason_to_end(
            mode, limits, waits=waits, quiet_s=quiet_s, failing_s=failing_s, may_try=may_try, stuck=stuck
        )

    def in_s(self) -> float:
        """The seconds until a sidecar on demand ends if nothing changes; infinite if it does not end."""
        limits = self._runtime.limits
        idle_at = math.inf if self.waits else self._busy_at + limits.idle_exit_s
        return min(idle_at, self._failing_since + limits.offline_exit_s) - self._clock.monotonic()

    def _waits(self) -> bool:
        """Whether anything is undelivered; ``--once`` ignores events that came after its start."""
        if self._at_start is not None:
            return not self._at_start.is_over()
        return anything_waits(self._runtime.host)

    def _is_stuck(self) -> bool:
        """Whether this pass changed nothing; then the backlog waits for another process."""
        state, before = self._runtime.state, self._progress
        self._progress = (self._batcher.made, state.requests, state.damaged, state.rejected)
        return self._progress == before
