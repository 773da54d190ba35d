"""Records an event, step by step; one object holds the state of a process.

refresh    read settings and source again, at most once a second, or at once if a variable has changed
pack       check and redact the event, and put it between parts that were packed before
append     write it to the spool
wake       start a sidecar, at most once a second, if none runs and no service serves the home

If other machines use the home, too, the thread of an event only reads variables and packs. A ``Worker``, a
copy of the process's emitter, does the rest in a helper thread; see ``shared_home.py`` and ``worker.py``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import get_ident
from types import ModuleType

from . import details, files, log, packing, settings, system
from .dates import dates_of
from .errors import BUSY_ERRNOS, SpoolUnsafeError, UnsupportedPlatformError, from_os_error
from .home_cache import HomeCache, declared
from .imports import undisturbed
from .layout import Home, HostPaths
from .locks import polls
from .named import Any, NamedTuple, TypeVar
from .spool import LOCK_WAIT_S, CreationRefusedError

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING or not system.WINDOWS:
    from .spool.posix import Writer
else:
    from .spool.windows import Writer
if TYPE_CHECKING:
    from . import launch
    from .pending import Waiting
    from .shared_home import QueuedEvent, SharedHome

BUSY_WAIT_S = 0.005
"""The longest wait of an event for the event of another thread."""

_T = TypeVar("_T")

SPOOLED, DISABLED = "spooled", "disabled"

_FLUSH_POLL_S = 0.02
_POLLS_PER_WAKE = round(settings.RECHECK_S / _FLUSH_POLL_S)
_LOCK_POLL_S = 0.0001
_MAX_CACHED_TYPES = 256
MAX_EVENTS = 1000
"""Settings are read again after this number of events, too, because a program may stop the clock."""


class Delivery(NamedTuple):
    """The home, the host and the settings, for a start of a sidecar."""

    home: Home
    host: HostPaths
    settings: settings.Settings


class Emitter(HomeCache):
    """The state of a process: its settings, IDs and packed parts, and the open segment.

    Args:
        warn: logs one warning, given its cause and its text.
        open_shared: makes the queue of a shared home; None treats every home as this machine's own.

    Raises:
        UnsupportedPlatformError: this system has neither POSIX locks nor those of Windows.
    """

    def __init__(
        self,
        warn: Callable[[str, str], None],
        open_shared: Callable[[Emitter, Home], SharedHome] | None = None,
    ) -> None:
        if not system.IS_SUPPORTED:
            msg = "flwr-telemetry works on Linux, macOS and Windows only; nothing is recorded here"
            raise UnsupportedPlatformError(msg)
        super().__init__(warn, open_shared)
        self._heads: dict[str, bytes] = {}
        self._futures: dict[str, Future[str]] = {}
        self._dates = dates_of(self._cluster)
        self._writers: set[Writer] = set()
        self._lock_wait_s = LOCK_WAIT_S
        self._start_afresh()
        if not system.WINDOWS:
            os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def _start_afresh(self) -> None:
        """Forget the settings and IDs, and the open segment without closing it."""
        self._forget()
        # It knows its owner from the moment in which it is taken, so that a signal handler can ask.
        self._lock = threading.RLock()
        self._waiting: set[int] = set()
        """The threads that wait for the lock."""
        self.to_wake: Delivery | None = None
        """Set when an event was appended, for ``wake``; None if there is nothing to do."""
        self._writer: Writer | None = None
        self.has_spooled: bool = False
        """Whether this process has written to the spool."""

    def _before_fork(self) -> None:
        self._dates.before_fork()
        for shared in list(self._shared_homes.values()):
            shared.before_fork()

    def _after_fork(self) -> None:
        self._futures = {}  # a thread that the child does not have may hold a lock of one
        self._dates.after_fork()
        # A child shares the open files of its parent, and their locks: unlocking one unlocks the parent's.
        # So the child first closes every file that it inherited, and starts afresh.
        for writer in list(self._writers):
            writer.close()
        self._writers.clear()
        for shared in self._shared_homes.values():
            shared.forget()
        self._shared_homes = {}  # the threads are the parent's, too
        self._start_afresh()

    def end(self) -> None:
        """At the end of the process, wait a moment for events in memory, and warn of lost ones."""
        for shared in list(self._shared_homes.values()):
            shared.end()

    # Recording an event

    def emit(
        self,
        event_type: str,
        event_details: Mapping[str, Any] | None,
        package: str,
        date_us: int | None = None,
    ) -> Future[str]:
        """As ``emit.report``, and with a date for an event that is reported late; may raise."""
        try:
            answer = self._emit_alone(event_type, event_details, package, date_us)
        except CreationRefusedError:
            return self._done(DISABLED)  # consent, read again, allows no new file
        return answer if type(answer) is Future else self._answer(answer)  # type: ignore[arg-type]

    def _emit_alone(
        self,
        event_type: str,
        event_details: Mapping[str, Any] | None,
        package: str,
        date_us: int | None,
    ) -> Future[str] | QueuedEvent:
        """``_emit`` under the lock, or by a sibling if another event has the lock."""
        lock = self._lock
        # This thread has the lock already if a signal handler has interrupted its event, or a log handler
        # reports.
        if lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as `threading.Condition` asks it
            return self._emit_by_sibling(event_type, event_details, package, date_us)
        # A handler may raise right after `acquire`, before any variable holds its result. Hence the lock is
        # released if this thread owns it.
        try:
            has_lock = lock.acquire(False) or self._take(lock)  # not by name, which costs more
            emit = self._emit if has_lock else self._emit_by_sibling
            return emit(event_type, event_details, package, date_us)
        finally:
            try:  # noqa: SIM105 - a handler could raise inside `suppress`, before the release
                lock.release()
            except RuntimeError:
                pass  # this thread does not own it, because its wait ended first

    def _answer(self, event: QueuedEvent) -> Future[str]:
        """Wait a moment until the helper has written an event; others can report, as this takes no lock."""
        try:
            return self._done(event.home.answer(event))
        finally:
            if self._logging:
                log.quietly(lambda: log.log_payload(*event.home.payload(event)))

    def _emit(
        self,
        event_type: str,
        event_details: Mapping[str, Any] | None,
        package: str,
        date_us: int | None,
    ) -> Future[str] | QueuedEvent:
        """``emit`` under the lock.

        There is no `try` here. If memory runs out late in a long function, CPython before 3.14 hangs in a
        `try`, because it needs memory for the number of the instruction.
        """
        now = time.monotonic()
        self._events += 1
        due = (
            not self._refreshed_at <= now < self._refresh_at  # not within, if the clock was set back
            or self._events > MAX_EVENTS
            or self._seen != (self._variables() if os.environ is self._environ else settings.variables())
        )
        if due:
            self._refresh(now)
        if not self._enabled and not self._logging:
            return self._done(DISABLED)
        payload = self._pack(event_type, event_details, package, date_us)
        if self._shared is not None and self._enabled:
            is_off = self._shared.is_off() and not self._logging
            return self._done(DISABLED) if is_off else self._shared.put(payload, package)
        if self._logging:
            log.quietly(log.log_payload, payload, self.has_hardware)
        if not self._enabled:
            return self._done(DISABLED)
        # Made before the append, because there may be no memory for it afterwards.
        answer = self._done(SPOOLED)
        to_wake = Delivery(self._home, self._host, self._settings) if due else None
        (self._writer or self._open()).append(packing.frame(payload), self._cap_bytes)
        if to_wake is not None:  # otherwise keep that of a handler that has reported meanwhile
            self.to_wake = to_wake
        return answer

    def _take(self, lock: threading.RLock) -> bool:
        """Whether the lock could be taken, at once or soon.

        A signal handler that interrupts this wait does not wait itself. A timer could interrupt it for ever.
        """
        if lock.acquire(blocking=False):
            return True
        thread = get_ident()
        if thread in self._waiting:
            return False
        try:
            self._waiting.add(thread)
            return any(lock.acquire(blocking=False) for _ in polls(BUSY_WAIT_S, _LOCK_POLL_S))
        finally:
            self._waiting.discard(thread)

    def _emit_by_sibling(self, *arguments: Any) -> Future[str]:
        return self._by_sibling(Emitter.emit, *arguments)

    def _by_sibling(self, method: Callable[..., _T], *arguments: object) -> _T:
        """Call a method of a sibling, because another event has the lock."""
        with self._sibling() as sibling:
            return method(sibling, *arguments)

    @contextlib.contextmanager
    def _sibling(self) -> Iterator[Emitter]:
        """A copy with its own descriptor and lock, so that the event in progress goes on."""
        sibling = object.__new__(type(self))  # as `copy.copy` does, whose import costs a first event 0.3 ms
        vars(sibling).update(vars(self))
        sibling._start_afresh()
        # The interrupted event may wait for the segment's lock. A timer could interrupt a wait for ever.
        sibling._lock_wait_s = 0
        try:
            yield sibling
        finally:
            sibling._close_writer()
            self.to_wake = sibling.to_wake or self.to_wake
            self.has_spooled |= sibling.has_spooled

    def _pack(self, event_type: str, event_details: object, package: str, date_us: int | None) -> bytes:
        # An enum member's hash is a slow Python function; that of its text is not, unless it is long.
        if type(event_type) is str and len(event_type) <= details.MAX_TYPE_LENGTH:
            name = event_type
        elif issubclass(type(event_type), str) and str.__len__(event_type) <= details.MAX_TYPE_LENGTH:
            name = str.__str__(event_type)
        else:
            name = details.event_type_name(event_type)
        head = self._heads.get(name) or self._head_of(name)
        packed_details = self._details.packed(event_details)
        packed_context = self._contexts.get(package) or self._context_of(package)
        date_us = self._dates.next(date_us or time.time_ns() // 1000)
        return packing.assemble(head, packed_details, packed_context, date_us)

    def _head_of(self, name: str) -> bytes:
        head = packing.event_head(details.event_type_name(name))
        if len(self._heads) < _MAX_CACHED_TYPES:
            self._heads[name] = head
        return head

    def _open(self) -> Writer:
        self._writer = Writer(self._host, self._may_create, self._tell_first_contact, self._lock_wait_s)
        self._writers.add(self._writer)
        self.has_spooled = True
        return self._writer

    def _tell_first_contact(self) -> None:
        noticed, untold = self._home.noticed, self._untold

        def notice() -> bytes:
            context = declared()
            known = context.told(noticed) if untold else None
            text: bytes = context.notice({*untold, *(known.fresh if known else ())})
            return text

        tell = log.first_contact
        if log.quietly(tell, noticed, self._may_create, self._kept_by, notice, untold) and untold:
            self._untold, self._contexts = (), {}  # the notice names them now, so they may be sent

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writers.discard(self._writer)
            self._writer = None

    def _done(self, result: str) -> Future[str]:
        finished = self._futures.get(result)
        if finished is None:
            finished = self._futures[result] = Future()
            finished.set_result(result)
        # A finished future never changes, so another one may share its parts. A new one from scratch would
        # take a tenth of an event's time.
        future: Future[str] = Future.__new__(Future)
        future.__dict__ = finished.__dict__.copy()
        return future

    # Delivery

    def wake(self) -> None:
        """Make sure that a sidecar or a service delivers what was appended.

        It may raise anything: it starts a process, and a program may have replaced any function that this
        takes. The event is in the spool by then.
        """
        to_wake, self.to_wake = self.to_wake, None
        if to_wake is not None and not self._is_held(to_wake.host.lock):  # otherwise another thread does it
            self._wake(to_wake)

    def _is_held(self, lock: Path) -> bool:
        """Whether a sidecar certainly runs: its lock alone proves that, on a home of this machine."""
        if not self._is_own:
            return False
        try:
            with files.opened(lock, os.O_RDWR) as descriptor:
                try:
                    system.lock_exclusive(descriptor)
                except OSError as error:
                    return error.errno in BUSY_ERRNOS
        except (OSError, SpoolUnsafeError):
            pass  # `launch.wake` meets it again, and tells
        return False

    def _wake(self, to_wake: Delivery) -> launch.Wake:
        try:
            return _launch().wake(*to_wake, os.environ, self._may_create)  # type: ignore[no-any-return]
        except OSError as error:
            raise from_os_error(error, str(to_wake.host.lock)) from error

    def flush(self, timeout_s: float) -> bool:
        """As ``emit.flush``; may raise."""
        lock = self._lock
        if lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as in `emit`
            return self._by_sibling(Emitter.flush, timeout_s)
        began = time.monotonic()
        try:
            if not self._take(lock):
                return self._by_sibling(Emitter.flush, timeout_s)
            self._refresh(began)
            if not self._enabled:
                return False
            shared = self._shared
        finally:
            try:  # noqa: SIM105 - as in `emit`
                lock.release()
            except RuntimeError:
                pass
        return self._deliver(began, timeout_s) if shared is None else shared.flush(timeout_s)

    def _deliver(self, began: float, timeout_s: float) -> bool:
        """``flush`` with settings that have just been read."""
        delivery = Delivery(self._home, self._host, self._settings)
        waiting = _waiting()(delivery.host)
        if waiting.is_over():
            return True
        if not self._may_create():
            return False
        launch = _launch()
        launch.request_flush(delivery.host)
        if self._wake(delivery) is launch.Wake.NOT_ALLOWED:
            return waiting.is_over()
        left_s = min(timeout_s - (time.monotonic() - began), timeout_s)
        for number, _ in enumerate(polls(left_s, _FLUSH_POLL_S), start=1):
            if waiting.is_over():
                return True
            if number % _POLLS_PER_WAKE == 0 and self._wake(delivery) is launch.Wake.NOT_ALLOWED:
                break
        return waiting.is_over()


@undisturbed
def _launch() -> ModuleType:
    from . import launch

    return launch


@undisturbed
def _waiting() -> type[Waiting]:
    from .pending import Waiting

    return Waiting
