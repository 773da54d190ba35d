"""The events of a process for a home on a file server, which may be away for hours.

The thread of an event never touches such a home. It puts the event, checked and packed, into a queue in
memory. A worker (``worker.py``) in a helper thread (``helper_thread.py``) reads settings and source, writes
all that is queued as one segment, and starts a sidecar. If the server does not answer soon, the event stays
in the queue, and is written later.

A child process has no part in this: the queue and the helper are its parent's.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from . import packing
from .errors import LoadingError, SpoolFullError, SpoolSlowError, TelemetryError, is_unreachable
from .helper_thread import ANSWER_WAIT_S, HelperThread
from .log import warn

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .worker import Worker

MAX_WAITING = 1000
"""The largest number of events that wait in memory."""

END_WAIT_S = 0.5
"""If events are in memory, the end of the process waits for the server until it is silent for this time."""

MAX_END_WAIT_S = 5.0
"""The longest such wait, for a server that answers slowly."""

TELL_AFTER_S = 2.0
"""If the server has not answered for this time, one warning is logged."""

_FLUSH_POLL_S = 0.005
_MAX_BYTES = 1024 * 1024
"""The size of a segment, unless a single record is larger."""

_SLOW = (
    "in memory; the file server of {} does not answer. It is written when the server does. If that lasts, "
    "set FLWR_HOME to a directory of this machine"
)
_LOST = "{} events are lost, because the file server of {} has not answered in time"
_FULL = "dropped, because {} events wait in memory; the file server of {} does not answer"


class QueuedEvent:
    """An event that waits in memory until it is written."""

    __slots__ = ("answer", "bare", "error", "home", "is_left", "package")

    def __init__(self, home: SharedHome, bare: bytes, package: str) -> None:
        self.home: SharedHome = home
        self.bare: bytes = bare
        """Its payload without the context."""
        self.package: str = package
        self.answer: str = ""
        """The result of its future; empty while it is not known."""
        self.error: Exception | None = None
        self.is_left: bool = False
        """Whether its future says already that it is in memory."""

    def is_over(self) -> bool:
        """Whether it was written, or failed."""
        return bool(self.answer) or self.error is not None


class SharedHome:
    """The queue of one home, and its helper.

    Args:
        worker: does the work in the helper thread, and nothing else.
        path: the home.
        failed: warns of an error, as ``emit._failed``.
    """

    def __init__(self, worker: Worker, path: Path, failed: Callable[[Exception, str, str], object]) -> None:
        self._worker = worker
        self._failed = failed
        self._path = path
        self._queue: deque[QueuedEvent] = deque()
        self._unanswered: list[QueuedEvent] = []
        """The events of a write that the server did not answer; the next try writes the same ones."""
        self._dropped: list[None] = []
        """One for each event that was dropped; a list, because appending to it needs no lock."""
        self._helper = HelperThread(lambda: bool(self._queue), self._write, self._end_of_interpreter)
        self._flushes: deque[Callable[[], object]] = deque()
        self._flusher = HelperThread(lambda: bool(self._flushes), self._flush)
        self._end_wait_s = MAX_END_WAIT_S

    # For the threads of the events

    def is_off(self) -> bool:
        """Whether settings that were read a moment ago switch telemetry off."""
        return not self._queue and self._worker.is_off()

    def put(self, bare: bytes, package: str) -> QueuedEvent:
        """Queue an event.

        Raises:
            SpoolSlowError: too many wait, and this one is dropped.
        """
        if len(self._queue) >= MAX_WAITING:
            self._dropped.append(None)
            self._helper.start()  # it may have given up, and the server may be back
            raise self._slow(_FULL.format(MAX_WAITING, self._path))
        event = QueuedEvent(self, bare, package)
        self._queue.append(event)
        return event

    def answer(self, event: QueuedEvent) -> str:
        """The result of an event, after a short wait.

        Raises:
            SpoolSlowError: it stays in memory for now.
            Exception: it could not be written.
        """
        try:
            is_over = self._helper.wait(event.is_over, ANSWER_WAIT_S)
        except BaseException:  # a signal handler ends the wait
            event.is_left = True
            raise
        if not is_over:
            event.is_left = True
            if not event.is_over():  # otherwise it was written just now
                raise self._slow(_SLOW.format(self._path))
        if event.error is not None:
            raise event.error
        return event.answer

    def _slow(self, text: str) -> SpoolSlowError:
        error = SpoolSlowError(text)
        error.is_lasting = self._helper.stuck_s > TELL_AFTER_S
        return error

    def payload(self, event: QueuedEvent) -> tuple[bytes, bool]:
        """The payload of an event, as far as its context is known, and whether it gets hardware facts."""
        worker = self._worker
        return packing.with_context(event.bare, worker.context_of(event.package)), worker.has_hardware

    def flush(self, timeout_s: float) -> bool:
        """As ``emit.flush``.

        Raises:
            SpoolSlowError: the server does not answer.
        """
        began = time.monotonic()
        found: list[bool | Exception] = []

        def flush() -> None:
            try:
                found.append(self._worker.flush_spool(left_s))
            except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
                found.append(error)

        # A server that was slow a moment ago may answer by then.
        is_written = not self._queue or self._helper.wait(
            lambda: not self._queue, timeout_s, _FLUSH_POLL_S, even_if_stuck=True
        )
        left_s = min(timeout_s - (time.monotonic() - began), timeout_s)
        if is_written and left_s > 0 and not self._flusher.is_stuck:
            self._flushes.append(flush)
            self._flusher.wait(lambda: bool(found), left_s, _FLUSH_POLL_S)
        if not found:
            raise SpoolSlowError(f"the file server of {self._path} does not answer")
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def before_fork(self) -> None:
        """Wait a moment for the helper, because a child has a copy of all that it has half done."""
        self._helper.wait_for_end(ANSWER_WAIT_S)

    def forget(self) -> None:
        """Drop everything, in a child process: it is the parent's, which writes it."""
        self._queue.clear()
        self._unanswered.clear()
        self._dropped.clear()
        self._flushes.clear()
        self._worker.end_turn()

    def end(self, *, is_last: bool = True) -> None:
        """Wait for the server at the end of the process, in all calls at most ``MAX_END_WAIT_S``.

        A server that does not answer for ``END_WAIT_S`` is not waited for again. Ctrl-C ends the process at
        once.

        Args:
            is_last: whether nothing of this process comes later, so that what is still in memory is lost.
        """
        is_interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
        if self._queue and not is_interrupted:
            began = time.monotonic()
            is_given_up = self._helper.finish(END_WAIT_S, self._end_wait_s)
            self._end_wait_s = 0.0 if is_given_up else self._end_wait_s - (time.monotonic() - began)
        if is_last and (count := len(self._queue)):
            warn(f"exit: {self._path}", _LOST.format(count, self._path))

    def _end_of_interpreter(self) -> None:
        # Handlers of `atexit` come later, but a child of `multiprocessing` may end without them.
        processes = sys.modules.get("multiprocessing.process")
        self.end(is_last=processes is not None and processes.parent_process() is not None)

    # In the helper thread

    def _write(self) -> bool:
        """Write the first events as one segment; false if that has to be tried again later."""
        events = self._unanswered or self._first()
        answer, error = "", None
        try:
            answer = self._worker.write([(event.bare, event.package) for event in events])
        except Exception as raised:  # noqa: BLE001 - it reaches the threads of these events, or a person
            if isinstance(raised, LoadingError) or is_unreachable(raised):
                self._unanswered = events
                return False
            error = raised
        self._unanswered = []
        for event in events:
            event.answer, event.error = answer, error
            self._queue.popleft()
            if error is not None and event.is_left:
                self._lose(error)
        if (count := len(self._dropped)) and error is None:
            with contextlib.suppress(OSError, TelemetryError):  # then it is tried after the next ones
                self._worker.count_dropped(count)
                del self._dropped[:count]
        try:
            self._worker.wake()
        except Exception as raised:  # noqa: BLE001 - the events are written
            self._failed(raised, "No sidecar could be started ({}); events wait in the spool", "start")
        return True

    def _first(self) -> list[QueuedEvent]:
        """The events that are written next; they stay in the queue meanwhile."""
        events: list[QueuedEvent] = []
        size_bytes = 0
        for at in range(len(self._queue)):
            size_bytes += len(self._queue[at].bare)
            if events and size_bytes > _MAX_BYTES:
                break
            events.append(self._queue[at])
        return events

    def _lose(self, error: Exception) -> None:
        """Count and report an event that cannot be written, although its future says that it is in memory."""
        if not isinstance(
            error, SpoolFullError
        ):  # at the cap it is counted already; a full disk takes no count
            self._dropped.append(None)
        self._failed(error, "An event that was in memory is lost: {}", "")

    def _flush(self) -> bool:
        self._flushes.popleft()()
        return True
