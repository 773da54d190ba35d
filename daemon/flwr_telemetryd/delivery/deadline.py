"""A deadline on whatever the main thread is doing.

A timeout per socket operation is none: a server that drips a byte a second never reaches it. The
system's interval timer interrupts every wait of Python's own; a look-up of a name ends when the
resolver gives up, which ``__main__`` makes soon.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

RESOLVER_OPTIONS = "timeout:2 attempts:1"
"""A look-up of a name cannot be interrupted; it must end well before ``request_deadline_s``."""


_SHORTEST_S = 0.001


_AGAIN_S = 0.5


class DeadlineExceededError(Exception):
    """The time is over."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise DeadlineExceededError inside the block once ``seconds`` are over; in the main thread only.

    In another thread, where no signal arrives, the block runs without a deadline of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        # Should a library swallow the first one, the next is not far.
        raise DeadlineExceededError

    former = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, _SHORTEST_S), _AGAIN_S)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        # Again, for the ring that came just before the line above.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
