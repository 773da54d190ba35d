"""Signals: SIGTERM and SIGINT end a sidecar at once; SIGHUP has a service read its settings and deliver.

Every step survives a SIGKILL, so that the end may be raised anywhere. What Python cannot interrupt, a look-up
of a name above all, is not waited for: a thread hears of the signal by itself and ends the process.

This room must never decide what is to be done before the end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from types import FrameType

GRACE_S = 0.5
"""What waits for nothing but Python ends within this time by itself."""

_ENDS = (signal.SIGTERM, signal.SIGINT)


class TerminatedError(BaseException):
    """SIGTERM or SIGINT. Every step survives a SIGKILL, so it may be raised anywhere."""


class Signals:
    """The signals of this process, from now on; for the main thread.

    Args:
        last_code: the exit code of a process that could not end by itself.
        reloads: whether SIGHUP asks for anything; without that it is ignored.
    """

    def __init__(self, last_code: int, *, reloads: bool) -> None:
        self._last_code = last_code
        self._asked = False
        self._heard, told = os.pipe()
        self._woken, self._wake = os.pipe()
        for descriptor in (told, self._woken, self._wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        threading.Thread(target=self._end_without_python, name="signals", daemon=True).start()
        for number in _ENDS:
            signal.signal(number, _stop)
        signal.signal(signal.SIGHUP, self._reload if reloads else signal.SIG_IGN)
        # Whoever started us may have blocked them.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def reload_asked(self) -> bool:
        """Whether SIGHUP came since this was asked last."""
        asked, self._asked = self._asked, False
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 64)
        return asked

    def sleep(self, seconds: float) -> None:
        """Wait for so long, or until SIGHUP comes."""
        select.select([self._woken], [], [], seconds)

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    def _end_without_python(self) -> None:
        while numbers := os.read(self._heard, 64):
            if any(number in _ENDS for number in numbers):
                time.sleep(GRACE_S)
                os._exit(self._last_code)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError
