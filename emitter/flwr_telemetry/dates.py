"""Gives events their dates: later ones within a process, and different ones in the children that it forks.

A child shares its parent's cluster ID. So its dates are moved by a part of a millisecond, and the same event
of two children has two dates. That also holds if the clock was set back, and each child counts on from the
last date of its parent.
"""

from __future__ import annotations

import sys
import threading

from . import packing
from .locks import polls

_CHILD_STEP_US = 8
"""The dates of a forked process are multiples of this apart, so that eight siblings never share one."""

_TURN_WAIT_S, _TURN_POLL_S = 0.005, 0.0001
"""The longest wait of an event for a thread that was stopped in its turn."""

_SHIFTS, _SPREAD = 125, 77
_MAX_LEAP_US, _LEAP_SPREAD = 999_983, 618_023
"""Their quotients are near the golden section, so that the dates of further siblings begin far apart."""


class Dates:
    """The dates of one process.

    Args:
        cluster: its cluster ID, or another text that no other process has.
    """

    def __init__(self, cluster: str) -> None:
        self._last_us = packing.MIN_DATE_US
        self._shift_us = self._slot_us = self._forks = 0
        self._step_us = 1
        self._leap_us = 1
        """The time from the last date to the next one, if the clock has not gone on."""
        self._family = hash(cluster)
        """A number that differs in each forked process; random in the first one."""

    def next(self, now_us: int) -> int:
        """The date of an event that happened at ``now_us``, in microseconds since the epoch."""
        date_us = now_us + self._shift_us
        # There is no call between reading and writing it, so no thread or handler can run between them.
        if date_us <= self._last_us:
            date_us = self._last_us + self._leap_us
            self._leap_us = 1
        self._last_us = date_us = date_us + (self._slot_us - date_us) % self._step_us
        return date_us

    def before_fork(self) -> None:
        """Count the forks of this process."""
        self._forks += 1

    def after_fork(self) -> None:
        """Move the dates, in a child."""
        rounds, self._slot_us = divmod(self._forks, _CHILD_STEP_US)
        self._step_us = _CHILD_STEP_US
        self._shift_us = _CHILD_STEP_US * ((self._family + _SPREAD * rounds) % _SHIFTS)
        # If the clock was set back, all descendants count on from dates that lie close together. So each one
        # leaps once more.
        self._leap_us = 1 + (self._family + _LEAP_SPREAD * self._forks) % _MAX_LEAP_US
        self._last_us += self._shift_us
        self._family, self._forks = hash((self._family, self._forks)), 0


class ParallelDates(Dates):
    """``Dates`` for threads that run at the same time, as a free-threaded Python lets them."""

    def __init__(self, cluster: str) -> None:
        super().__init__(cluster)
        self._turn = threading.RLock()  # its owner, interrupted by a handler, does not wait for itself

    def next(self, now_us: int) -> int:
        """As ``Dates.next``, for one thread after the other."""
        turn = self._turn
        try:
            if not turn.acquire(blocking=False):
                any(turn.acquire(blocking=False) for _ in polls(_TURN_WAIT_S, _TURN_POLL_S))
            return super().next(now_us)
        finally:
            try:  # noqa: SIM105 - a handler could raise inside `suppress`, before the release
                turn.release()
            except RuntimeError:
                pass  # this thread does not own the lock, because its wait ended first

    def after_fork(self) -> None:
        """As ``Dates.after_fork``, with a new lock, because a thread of the parent may hold the old one."""
        self._turn = threading.RLock()
        super().after_fork()


def dates_of(cluster: str) -> Dates:
    """The dates of this process, for the interpreter that runs it."""
    is_alone: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return Dates(cluster) if is_alone else ParallelDates(cluster)
