"""When a sidecar wakes and when it ends: the memory between two passes that ``schedule.py`` decides by.

A service runs for months. While nothing changes, its sleep doubles up to half a minute, and on waking it only
reads the times of a few files. A sidecar on demand runs for about a minute. It wakes four times a second, but
only for requests and for new events of its own host.

This module never writes, and never lists a directory that did not change.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.pending import Waiting

from ..delivery.backoff import RetryPolicy
from ..outbox.backlog import anything_waits
from ..runtime import Mode, Runtime
from ..spool.directory import known_hosts, turn_at
from .batcher import Batcher
from .schedule import LONGEST_WAIT_S, POLL_S, ExitReason, reason_to_end


def _program() -> tuple[int, int] | None:
    """A value that changes when this program is installed again; None if it is not there."""
    try:
        status = os.stat(__file__)
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


class IdleWait:
    """Sleeps between two passes, until something changes.

    Args:
        runtime: in mode service, the files of all hosts wake it, in the other modes only this host's files.
        is_woken: called at every waking; whether there is another reason for a pass than changed files.
    """

    def __init__(self, runtime: Runtime, is_woken: Callable[[], bool]) -> None:
        self._home = runtime.home
        self._clock = runtime.clock
        self._is_woken = is_woken
        self._is_alone, own = runtime.mode is not Mode.SERVICE, runtime.host
        self._turn = turn_at(own)
        # Strings, because building a path takes longer than reading its times.
        watched = (own.flush, own.events, own.lock, *([own.spool] if runtime.is_shared else []))
        self._paths = [str(path) for path in watched if self._is_alone]
        self._telemetry: object = None
        self._times: object = None
        self._pause_s = POLL_S
        self._changed_at = runtime.clock.monotonic()

    def snapshot(self) -> None:
        """Note the files' times before a pass, because a change during the pass must cause another one."""
        self._times = self._signature()

    def quiet_s(self) -> float:
        """The seconds since the last waking that found a change."""
        return self._clock.monotonic() - self._changed_at

    def sleep(self, longest_s: float, most_s: float) -> None:
        """Sleep until something has changed in the home since ``snapshot``.

        Args:
            longest_s: the longest time between two readings of the files' times.
            most_s: the longest sleep; a pass is due after it even if nothing changed.
        """
        now = self._clock.monotonic()
        end = now + most_s
        while True:
            self._clock.sleep(min(self._pause_s, longest_s, max(end - now, POLL_S)))
            now = self._clock.monotonic()
            if self._is_woken() or self._signature() != self._times:
                self._pause_s, self._changed_at = POLL_S, now
                return
            self._pause_s = min(2 * self._pause_s, LONGEST_WAIT_S)
            if now >= end:
                return

    def _signature(self) -> object:
        """The times that change whenever an event's file moves or grows; state files have no effect."""
        telemetry = None if self._is_alone else files.signature(self._home.telemetry)
        if telemetry != self._telemetry:
            self._telemetry = telemetry
            paths = [(host.spool, host.flush, host.events, host.outbox) for host in known_hosts(self._home)]
            self._paths = [str(path) for path in itertools.chain(*paths)]
        with self._turn:
            return telemetry, list(map(files.signature, self._paths))
