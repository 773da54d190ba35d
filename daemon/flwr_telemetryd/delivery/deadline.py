"""A deadline for one request, enforced by the system's interval timer.

A timeout for each socket operation is not enough, because a server that sends a byte a second never reaches
it. The timer's signal interrupts every wait inside Python. It cannot interrupt a name look-up, so
``RESOLVER_OPTIONS`` makes the resolver give up soon.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

RESOLVER_OPTIONS = "timeout:2 attempts:1"
"""The value of ``RES_OPTIONS`` (resolv.conf(5)): a look-up ends well before ``request_deadline_s``."""

_SHORTEST_S = 0.001
_REPEAT_S = 0.5


class DeadlineExceededError(Exception):
    """The time is over."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise DeadlineExceededError inside the block after ``seconds``.

    Only the main thread receives signals. In another thread the block runs without a deadline.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise DeadlineExceededError

    former = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            # The timer repeats, because a library may swallow the first exception.
            signal.setitimer(signal.ITIMER_REAL, max(seconds, _SHORTEST_S), _REPEAT_S)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        # Again, because a signal may have interrupted the line above.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
