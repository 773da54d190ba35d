"""Signals: SIGTERM and SIGINT end a sidecar at once; SIGHUP has a service read its settings and deliver.

Every step survives a SIGKILL, so the end may be raised anywhere. Only a call of a C library that does not
return delays it; a name look-up is bounded by ``RES_OPTIONS``.

This module must never decide what to do before the end.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType


class TerminatedError(BaseException):
    """SIGTERM or SIGINT. Every step survives a SIGKILL, so it may be raised anywhere."""


class Signals:
    """The signals of this process, from now on; for the main thread.

    Args:
        reloads: whether SIGHUP asks for a reload; otherwise it is ignored.
    """

    def __init__(self, *, reloads: bool) -> None:
        self._asked = False
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        # A byte for each signal ends a sleep that begins just after the signal came.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        signal.signal(signal.SIGHUP, self._reload if reloads else signal.SIG_IGN)
        # The process that started this one may have blocked them.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def reload_asked(self) -> bool:
        """Whether SIGHUP came since the last call."""
        asked, self._asked = self._asked, False
        return asked

    def sleep(self, seconds: float) -> None:
        """Sleep for so long, or until a signal comes."""
        if select.select([self._woken], [], [], seconds)[0]:
            os.read(self._woken, 64)

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError
