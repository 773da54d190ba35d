"""When a life of a sidecar is over: what it remembers of its looks, so that ``decisions`` can decide.

This room must never end anything itself.
"""

from __future__ import annotations

import math

from flwr_telemetry.layout import HostPaths
from flwr_telemetry.settings_file import Limits
from flwr_telemetry.waiting import Waiting

from .backoff import Troubles
from .clock import Clock
from .decisions import End, Mode, reason_to_end
from .packing import Packer
from .patience import Patience
from .serving import anything_waits
from .state import State


class Ending:
    """One life's.

    Args:
        host: whose.
        mode: how long it lives.
        clock: time.
        state: what was requested, rejected and damaged.
        packer: knows what batches were made.
        patience: knows whether deliveries fail.
        troubles: knows what this machine is in the way of.

    Attributes:
        waits: whether anything was undelivered after the last look.
        barred_s: for how long nothing may be tried then.
    """

    def __init__(
        self,
        host: HostPaths,
        mode: Mode,
        *,
        clock: Clock,
        state: State,
        packer: Packer,
        patience: Patience,
        troubles: Troubles,
    ) -> None:
        self._host = host
        self._mode = mode
        self._clock = clock
        self._state = state
        self._packer = packer
        self._patience = patience
        self._troubles = troubles
        # What other hosts' sidecars have is theirs to deliver.
        self._at_start = Waiting(host, adopted=False)
        self._busy_at = clock.monotonic()
        self.waits, self.barred_s = False, 0.0
        self._barred_since: float | None = None
        self._failing_since: float | None = None
        self._progress: tuple[int, ...] = ()

    def reason(self, limits: Limits) -> End | None:
        """Why to end after this look, or None."""
        now, waited = self._clock.monotonic(), self.waits
        waits = self.waits = self._troubles.attempt("look", self._waits, otherwise=True)
        if waits or waited:  # between two looks nobody knows when it was over
            self._busy_at = now
        self.barred_s = self._patience.barred_s()
        may_try = self.barred_s <= 0  # a rest of its own is no reason to end
        if not waits or may_try:
            self._barred_since = None
        elif self._barred_since is None:
            self._barred_since = now  # by a Retry-After that an earlier life heard
        failures = (self._patience.failing_since, self._troubles.since(), self._barred_since)
        self._failing_since = since = min((one for one in failures if one is not None), default=None)
        return reason_to_end(
            self._mode,
            limits,
            waits=waits,
            quiet_s=now - self._busy_at,
            failing_s=None if since is None else now - since,
            may_try=may_try,
            stuck=self._is_stuck(),
        )

    def in_s(self, limits: Limits) -> float:
        """How long a sidecar on demand has left after a look, if nothing happens any more; in seconds."""
        ends = [] if self.waits else [self._busy_at + limits.idle_exit_s]
        if self._failing_since is not None:
            ends.append(self._failing_since + limits.offline_exit_s)
        return min(ends, default=math.inf) - self._clock.monotonic()

    def _waits(self) -> bool:
        """Whether anything is left to wait for; `--once` does not wait for what came in meanwhile."""
        return anything_waits(self._host) if self._mode is not Mode.ONCE else not self._at_start.is_over()

    def _is_stuck(self) -> bool:
        """Whether this look changed nothing; what waits then waits for somebody else."""
        state = self._state
        before = self._progress
        self._progress = (self._packer.made, state.requests, state.damaged, state.rejected)
        return self._progress == before
