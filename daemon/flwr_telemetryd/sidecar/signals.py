"""Signals: SIGTERM and SIGINT end a sidecar. SIGHUP makes a service read its settings and deliver.

Every step survives a SIGKILL, so the handler may raise ``TerminatedError`` at any place. A sleep, a wait for
a lock and a request in flight end at once. One place delays the end: a destructor, in which Python ignores
exceptions. So ``sleep`` raises again.

Windows has Ctrl-C alone. A process that ends another one there ends it as SIGKILL does.

A service that ends delivers once more, within ``respite``. This module never decides what to do then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from _thread import interrupt_main
from collections.abc import Iterator
from types import FrameType

from flwr_telemetry import system


class TerminatedError(BaseException):
    """SIGTERM or SIGINT came."""


def _interrupt(_thread: int, number: signal.Signals) -> None:
    """As ``signal.pthread_kill`` for the main thread, on Windows; a call of the system goes on."""
    interrupt_main(number)


class Signals:
    """Handles the signals of this process, from now on; for the main thread.

    Args:
        reloads: whether SIGHUP asks for a reload; otherwise it is ignored.
    """

    def __init__(self, *, reloads: bool) -> None:
        self._reload_asked = self._terminated = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminate)
        if system.WINDOWS:  # it has no other signals, and Ctrl-C ends a sleep there
            return
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        # Each signal writes a byte, which ends a sleep that begins just after the signal.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, self._reload if reloads else signal.SIG_IGN)
        # A mask is inherited, and the parent process may have blocked these signals.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def reload_asked(self) -> bool:
        """Whether SIGHUP came since the last call."""
        asked, self._reload_asked = self._reload_asked, False
        return asked

    def sleep(self, seconds: float, *also: int) -> None:
        """Sleep for a number of seconds, until a signal comes, or until another descriptor can be read.

        Raises:
            TerminatedError: SIGTERM or SIGINT came, now or before.
        """
        if self._terminated:
            raise TerminatedError
        if system.WINDOWS:
            time.sleep(seconds)
        elif self._woken in select.select([self._woken, *also], [], [], seconds)[0]:
            os.read(self._woken, 64)

    @contextlib.contextmanager
    def respite(self, seconds: float) -> Iterator[None]:
        """Go on after ``TerminatedError``: the block ends at the next such signal, or after ``seconds``."""
        self._terminated = False
        # The main thread's number, because a signal to the process may go to this timer's thread, and would
        # then end no wait.
        main = threading.main_thread().ident
        kill = getattr(signal, "pthread_kill", _interrupt)
        timer = threading.Timer(seconds, kill, (main, signal.SIGTERM))
        timer.daemon = True
        try:
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
        except TerminatedError:
            pass

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._reload_asked = True

    def _terminate(self, _signal: int, _frame: FrameType | None) -> None:
        self._terminated = True
        raise TerminatedError
