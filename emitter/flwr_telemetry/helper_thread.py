"""Runs work in a thread, because it may wait for a file server; the caller waits for a bounded time only.

The thread ends as soon as there is no work. It is a daemon, because the end of the process must not wait for
a server that never answers. At the end of the interpreter no thread can be started any more. So one is
started right before, and stays.

Every wait ends by the clock and by the number of its polls. No thread ever waits for a lock, because a signal
handler, a fork or a virtual clock may come at any moment. If no thread can be started, the caller does the
work.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from .locks import polls

ANSWER_WAIT_S = 0.04
"""The longest wait of an event, or of a fork, for the thread."""

MAX_LATE = 5
"""After this number of waits in vain for the same work, no event waits: the server is away, and not slow."""

POLL_S = 0.0003
_END_POLL_S = 0.005
_NAME = "flwr-telemetry"


class HelperThread:
    """One thread at a time that does the work.

    Args:
        has_work: whether there is something to do; called by any thread.
        work: does a part of it; called by one thread at a time. It returns whether it could.
        at_end: called when the interpreter begins to end. ``atexit`` would be too late for a child of
            ``multiprocessing``.
    """

    def __init__(
        self,
        has_work: Callable[[], bool],
        work: Callable[[], bool],
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._has_work = has_work
        self._work = work
        self._at_end = at_end
        # It knows its owner, because a signal handler may interrupt a caller that does the work itself.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_working = False
        self._has_failed = False
        """Whether the work could not be done, at the last try."""
        self._late_since = 0.0
        """The time at which the first wait in vain for the work in progress began; 0 without one."""
        self._late = 0
        """The number of waits in vain for the work in progress."""
        self._worker = 0
        """The system's number of the thread that does the work, or did it last."""
        self._wanted: threading.Lock | None = None
        """Released to start the work of the thread that stays; None before the end of the interpreter."""
        with contextlib.suppress(AttributeError, RuntimeError):  # private; or the end has begun
            threading._register_atexit(self._stay)  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def is_stuck(self) -> bool:
        """Whether ``MAX_LATE`` waits for the work in progress were in vain."""
        return self._late >= MAX_LATE and self._is_working

    @property
    def stuck_s(self) -> float:
        """The time since the first wait in vain for the work in progress began, in seconds; 0 without one."""
        return time.monotonic() - self._late_since if self._late_since and self._is_working else 0.0

    def is_own_thread(self) -> bool:
        """Whether the caller is called by the work."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as `Condition` does

    def wait(
        self,
        is_done: Callable[[], bool],
        wait_s: float = ANSWER_WAIT_S,
        poll_s: float = POLL_S,
        *,
        even_if_stuck: bool = False,
    ) -> bool:
        """Have the work done, and wait for it and for the end of the thread.

        Args:
            is_done: whether the part of the work is done that the caller needs.
            wait_s: the longest wait in seconds.
            poll_s: the time between two polls, in seconds.
            even_if_stuck: whether to wait for a thread that is stuck, too.

        Returns:
            Whether the part is done.
        """
        if self.is_own_thread():
            return is_done()
        began = time.monotonic()
        self.start()
        if even_if_stuck or not self.is_stuck:
            for _ in polls(wait_s, poll_s):
                if not self._is_busy():
                    if is_done() or self._has_failed or not self._has_work():
                        break
                    self.start()  # the thread had just ended when the work came
            if not is_done() and self._is_working:
                self._late_since = self._late_since or began
                self._late += 1
        return is_done()

    def wait_for_end(self, wait_s: float) -> None:
        """Wait until the thread does nothing, unless it is stuck; at most ``wait_s`` seconds."""
        if self._is_busy() and not self.is_own_thread():
            is_over = any(self.is_stuck or not self._is_busy() for _ in polls(wait_s, POLL_S))
            self._late += not is_over

    def finish(self, quiet_s: float, most_s: float) -> bool:
        """Have all work done at the end of the process, also by a thread that is stuck.

        Args:
            quiet_s: the longest wait in seconds for a thread that does not run, because no answer comes.
            most_s: the longest wait in seconds.

        Returns:
            Whether the wait has ended before the work.
        """
        if self.is_own_thread():
            return False
        self.start()
        ran, polled, since = self._ran(), 0, time.monotonic()
        for _ in polls(most_s, _END_POLL_S):
            if not self._is_busy():
                if self._has_failed or not self._has_work():
                    return False
                self.start()  # the thread had just ended when the work came
            polled += 1
            if (ran_now := self._ran()) != ran:
                ran, polled, since = ran_now, 0, time.monotonic()
            elif polled * _END_POLL_S >= quiet_s or time.monotonic() - since >= quiet_s:
                break
        return True

    def _ran(self) -> bytes:
        """A text that changes whenever the thread has run; empty if the system does not have it."""
        with contextlib.suppress(OSError), open(f"/proc/self/task/{self._worker}/schedstat", "rb") as file:
            return file.read()
        return b""

    def _is_busy(self) -> bool:
        thread = self._thread
        return self._is_working or (thread is not None and thread.is_alive())

    def start(self) -> None:
        """Start the work, if there is any and no thread does it."""
        if self._is_busy() or not self._has_work():
            return
        if self._wanted is not None:
            with contextlib.suppress(RuntimeError):  # it was called already
                self._wanted.release()
            return
        self._has_failed = False
        try:
            self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
            self._thread.start()
        except RuntimeError:
            self._run()

    def _run(self) -> None:
        # Asked again after each part, because work may have come right before its end.
        while self._has_work() and self._run_once():
            pass

    def _run_once(self) -> bool:
        """Do the work, unless another thread does it; whether it could be done."""
        if self.is_own_thread():
            return False
        # A handler may raise right after `acquire`. Hence the lock is released if this thread owns it.
        try:
            if not self._lock.acquire(blocking=False):
                return False
            self._is_working, self._late_since, self._late = True, 0.0, 0
            self._worker = threading.get_native_id()
            self._has_failed = not self._work()
            return not self._has_failed
        finally:
            if self.is_own_thread():
                self._is_working = False
                self._lock.release()

    def _stay(self) -> None:
        """Start the thread that stays to the end of the interpreter."""
        wanted = threading.Lock()
        wanted.acquire()

        def serve() -> None:
            while wanted.acquire():
                self._run()

        with contextlib.suppress(RuntimeError):
            threading.Thread(target=serve, name=_NAME, daemon=True).start()
            self._wanted = wanted
        self._at_end()
