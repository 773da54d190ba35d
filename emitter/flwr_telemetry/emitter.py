"""Records an event, step by step; one object holds the state of a process.

refresh    read settings and source again, at most once a second, or at once if a variable has changed
pack       check and redact the event, and put it between parts that were packed before
append     write it to the spool
wake       start a sidecar, at most once a second, if none runs and no service serves the home

On a home that other machines use, too, the thread of an event reads variables and packs. A sibling of the
process's emitter does the rest in a helper thread; see ``shared.py`` and ``worker.py``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from . import context, details, files, launch, log, mounts, record, redaction, settings, source, system
from .dates import dates_of
from .errors import HomeUnavailableError, LoadingError, UnsupportedPlatformError, from_os_error
from .imports import undisturbed
from .layout import Home, HostPaths, home_directory
from .locks import polls
from .spool import LOCK_WAIT_S, CreationRefusedError

if TYPE_CHECKING or not system.WINDOWS:
    from .spool.posix import Writer
else:
    from .spool.windows import Writer
if TYPE_CHECKING:
    from .pending import Waiting
    from .shared import Report, SharedHome

BUSY_WAIT_S = 0.005
"""How long an event waits for the event of another thread."""

_T = TypeVar("_T")

SPOOLED, DISABLED = "spooled", "disabled"

_FLUSH_POLL_S = 0.02
_POLLS_PER_WAKE = round(launch.RECHECK_S / _FLUSH_POLL_S)
_LOCK_POLL_S = 0.0001
_MAX_CACHED_TYPES = 256
MAX_EVENTS = 1000
"""Settings are read again after so many events, too, because a program may stop the clock."""

_MIB = 1024 * 1024


class Delivery(NamedTuple):
    """The parts of a process's state that a start of a sidecar needs."""

    home: Home
    host: HostPaths
    settings: settings.Settings


class Emitter:
    """The state of a process: its settings, IDs and packed parts, and the open segment.

    Args:
        warn: logs one warning, given its cause and its text.
        open_shared: makes the queue of a home that other machines use; without it, no home counts as such.

    Raises:
        UnsupportedPlatformError: this system has no POSIX locks and renames.
    """

    def __init__(
        self,
        warn: Callable[[str, str], None],
        open_shared: Callable[[Emitter, Home], SharedHome] | None = None,
    ) -> None:
        if not system.IS_SUPPORTED:
            msg = "flwr-telemetry works on Linux and macOS only; nothing is recorded here"
            raise UnsupportedPlatformError(msg)
        self._warn = warn
        self._open_shared = open_shared
        # A program may have replaced what these ask. A field that cannot be computed costs no event.
        self._cluster: str = log.quietly(source.new_id) or context.UNKNOWN
        self._redactor: redaction.Redactor | None = log.quietly(redaction.identity_redactor)
        self._static: dict[str, dict[str, Any]] = {}
        self._heads: dict[str, bytes] = {}
        self._futures: dict[str, Future[str]] = {}
        self._dates = dates_of(self._cluster)
        self._writers: set[Writer] = set()
        self._lock_wait_s = LOCK_WAIT_S
        self._identifying: set[int] = set()
        """The threads that read or make the source ID, also in a sibling."""
        self._shared_homes: dict[Home, SharedHome] = {}
        """Those of this process, also of a sibling."""
        self._start_afresh()
        if not system.WINDOWS:
            os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def _start_afresh(self) -> None:
        """Forget the settings and IDs, and the open segment without closing it."""
        # It knows its owner from the moment in which it is taken, so that a signal handler can ask.
        self._lock = threading.RLock()
        self._waiting: set[int] = set()
        """The threads that wait for the lock."""
        self.to_wake: Delivery | None = None
        """The delivery that ``wake`` makes sure of, because an event was appended; None if there is none."""
        self._details = details.DetailsEncoder(self._redactor)
        self._seen: tuple[Any, ...] | None = None
        self._refreshed_at = self._refresh_at = 0.0
        self._events = 0
        """The number of events since the last refresh."""
        self._signatures: tuple[Any, ...] = ()
        self._ids: dict[str, str] = {}
        self._contexts: dict[str, tuple[bytes, bytes]] = {}
        self._untold: tuple[str, ...] = ()
        """The fields that are not reported yet, because the home was not told of them."""
        self._home: Home
        self._host: HostPaths
        self._settings: settings.Settings
        self._enabled = self._logging = False
        self._kept_by = ""
        self.has_hardware: bool = True
        self._cap_bytes = 0.0
        self._writer: Writer | None = None
        self._shared: SharedHome | None = None
        """The home, if it is a shared one and this is not the emitter of its helper."""
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
        """Wait a moment for events in memory at the end of the process, and tell of those that it loses."""
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
        answer = self._emit_alone(event_type, event_details, package, date_us)
        return answer if isinstance(answer, Future) else self._answer(answer)

    def _emit_alone(
        self,
        event_type: str,
        event_details: Mapping[str, Any] | None,
        package: str,
        date_us: int | None,
    ) -> Future[str] | Report:
        """``_emit`` under the lock, or aside if that is taken."""
        lock = self._lock
        # Its owner is here again if it was interrupted by a signal handler, or if a log handler reports.
        if lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as `threading.Condition` asks it
            return self._emit_aside(event_type, event_details, package, date_us)
        # A handler may raise right after `acquire`, before any variable holds its result. Hence the lock is
        # released if this thread owns it.
        try:
            emit = self._emit if self._take(lock) else self._emit_aside
            return emit(event_type, event_details, package, date_us)
        except CreationRefusedError:
            return self._done(DISABLED)  # consent, read again, allows no new file
        finally:
            try:  # noqa: SIM105 - a handler could raise inside `suppress`, before the release
                lock.release()
            except RuntimeError:
                pass  # this thread does not own it, because its wait ended first

    def _answer(self, report: Report) -> Future[str]:
        """Wait a moment until the helper has written an event; without the lock, for others may report."""
        try:
            return self._done(report.home.answer(report))
        finally:
            if self._logging:
                log.quietly(lambda: log.log_payload(*report.home.payload(report)))

    def _emit(
        self,
        event_type: str,
        event_details: Mapping[str, Any] | None,
        package: str,
        date_us: int | None,
    ) -> Future[str] | Report:
        """``emit`` under the lock.

        No `try` is here: if memory runs out, CPython before 3.14 never leaves one that stands late in a
        long function (it needs memory for a number above 256, the place of the instruction).
        """
        now = time.monotonic()
        self._events += 1
        due = (
            not self._refreshed_at <= now < self._refresh_at  # a clock that was set back is past both
            or self._events > MAX_EVENTS
            or self._seen != settings.variables()
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
        (self._writer or self._open()).append(record.frame(payload), self._cap_bytes)
        if to_wake is not None:  # not otherwise: a handler may have reported meanwhile
            self.to_wake = to_wake
        return answer

    def _take(self, lock: threading.RLock) -> bool:
        """Whether the lock could be taken, at once or soon.

        A signal handler that interrupts this wait does not wait, too: under a timer there would be no end.
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

    def _emit_aside(self, *arguments: Any) -> Future[str]:
        return self._aside(Emitter.emit, *arguments)

    def _aside(self, method: Callable[..., _T], *arguments: object) -> _T:
        """Call a method of a sibling, because the lock is taken."""
        with self._sibling() as sibling:
            return method(sibling, *arguments)

    @contextlib.contextmanager
    def _sibling(self) -> Iterator[Emitter]:
        """A copy with its own descriptor and lock, so that the event in progress goes on."""
        sibling = object.__new__(type(self))  # as `copy.copy` does, whose import costs a first event 0.3 ms
        vars(sibling).update(vars(self))
        sibling._start_afresh()
        # The event that was interrupted may wait for this lock. Under a timer there would be no end.
        sibling._lock_wait_s = 0
        try:
            yield sibling
        finally:
            sibling._close_writer()
            self.to_wake = sibling.to_wake or self.to_wake
            self.has_spooled |= sibling.has_spooled

    def _pack(self, event_type: str, event_details: object, package: str, date_us: int | None) -> bytes:
        # An enum member's hash is a slow Python function; that of its text is not, unless it is long.
        if isinstance(event_type, str) and str.__len__(event_type) <= details.MAX_TYPE_LENGTH:
            name = str.__str__(event_type)
        else:
            name = details.event_type_name(event_type)
        head = self._heads.get(name) or self._head_of(name)
        packed_details = self._details.packed(event_details)
        packed_context = self._contexts.get(package) or self._context_of(package)
        date_us = self._dates.next(date_us or time.time_ns() // 1000)
        return record.assemble(head, packed_details, packed_context, date_us)

    def _head_of(self, name: str) -> bytes:
        head = record.event_head(details.event_type_name(name))
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
        known = context.told(noticed) if untold else None
        notice = context.notice({*untold, *(known.fresh if known else ())})
        tell = log.first_contact
        if log.quietly(tell, noticed, self._may_create, self._kept_by, notice, untold) and untold:
            self._untold, self._contexts = (), {}  # from now on they may be sent

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
        # A finished future never changes, so another one may share its parts. To make a new one from scratch
        # takes a tenth of an event's time.
        future: Future[str] = Future.__new__(Future)
        future.__dict__.update(finished.__dict__)
        return future

    # Refreshing, at most once a second

    def _refresh(self, now: float) -> None:
        """Read settings and source again if they have changed."""
        variables = settings.variables()
        try:
            home = Home(home_directory(os.environ))
        except HomeUnavailableError:
            if (refusal := settings.environment_refusal(os.environ)) is None:
                raise
            self._use(settings.Settings(consent=refusal))
            self._seen = None
            return
        if variables != self._seen:
            self._shared = self._shared_home(home)
        if self._shared is None:
            self._read(home, has_new_variables=variables != self._seen)
        else:
            self._close_writer()  # of another home
            refusal = settings.environment_refusal(os.environ)
            enabled = settings.Consent(enabled=True, decided_by="default", reason="")
            is_logging = os.environ.get("FLWR_TELEMETRY_LOGGING") == "1"
            self._use(settings.Settings(consent=refusal or enabled, logging=is_logging))
            # The worker adds the context. What is only shown, has no source, because the home is not read.
            self._ids = {}
            self._contexts = {} if refusal else dict.fromkeys(context.PACKAGES, record.NO_CONTEXT)
        self._seen = variables
        self._refreshed_at, self._refresh_at = now, now + launch.RECHECK_S
        self._events = 0

    def _shared_home(self, home: Home) -> SharedHome | None:
        """The queue of a home, of which a process has one; None if the home is not shared."""
        if self._open_shared is None or not mounts.is_shared(home.path):
            return None
        if home not in self._shared_homes:
            self._shared_homes.setdefault(home, self._open_shared(self, home))
        return self._shared_homes[home]

    def _host_of(self, home: Home) -> HostPaths:
        """The directory of this machine."""
        return home.host()

    def _read(self, home: Home, *, has_new_variables: bool) -> None:
        """Read settings and source of a home again if they have changed."""
        signatures = (settings.signature(home), log.quietly(source.read, home.source))
        if not has_new_variables and signatures == self._signatures:
            return
        known = self._load(home)
        self._close_writer()
        self._home, self._host = home, self._host_of(home)
        self._use(known)
        consent = self._settings.consent
        if consent.malformed:
            self._warn(consent.reason, f"Telemetry is off: {consent.reason}")
        if consent.enabled or self._logging:
            self._identify(may_create=consent.enabled)
        # The source file may have been created just now. Without it the next refresh tries again.
        is_known = self._ids.get("source") != source.UNAVAILABLE
        self._signatures = (signatures[0], log.quietly(source.read, home.source)) if is_known else ()

    def _use(self, known: settings.Settings) -> None:
        """Use these settings from now on; those that every event needs get attributes of their own."""
        self._settings = known
        self._enabled, self._logging = known.consent.enabled, known.logging
        self._kept_by, self.has_hardware = known.kept_by, known.hardware
        self._cap_bytes = known.limits.spool_max_mib * _MIB

    def _identify(self, *, may_create: bool) -> None:
        """Update the IDs by the source file; create that one if it is missing and consent allows it.

        Raises:
            LoadingError: this thread does so already, and was interrupted; it may hold the source's lock.
        """
        thread = get_ident()
        if thread in self._identifying:
            raise LoadingError("the event was reported while the source ID is made, which it needs itself")
        try:
            self._identifying.add(thread)
            self._ids = self._ids_with(log.quietly(self._source_id, may_create) or source.UNAVAILABLE)
            self._contexts = {}
            self._untold = log.quietly(context.untold, self._home.noticed) or ()
        finally:
            self._identifying.discard(thread)

    def _ids_with(self, source_id: str) -> dict[str, str]:
        partner = log.quietly(context.partner_id, os.environ.get("FLWR_TELEMETRY_PARTNER_ID"))
        return {"partner": partner or context.UNKNOWN, "source": source_id, "cluster": self._cluster}

    def _source_id(self, may_create: bool) -> str | None:
        path = self._home.source
        found = source.read(path)
        if found is None and may_create and self._may_create():
            with contextlib.suppress(OSError):  # the writer gets the same error, and a better message
                files.make_home(self._home.path)
            found = source.ensure(path)
        return found

    def _context_of(self, package: str) -> tuple[bytes, bytes]:
        """The packed context of a package's events, made once for many events."""
        if package not in self._static:
            static = context.static_context(package, context.package_version(package))
            redacted = (
                context.without_names(static) if self._redactor is None else self._redactor.redact(static)
            )
            self._static[package] = redacted
        has_partner = context.PACKAGES[package].has_partner
        known = self._ids or self._ids_with(source.UNAVAILABLE)
        ids = {name: value for name, value in known.items() if has_partner or name != "partner"}
        marks = {record.UPLOAD: False} if self._kept_by else {}
        static = context.without_fields(self._static[package], self._untold)
        self._contexts[package] = record.context_parts(ids, {**static, **marks})
        return self._contexts[package]

    def _may_create(self) -> bool:
        return self._load(self._home).consent.enabled

    def _load(self, home: Home) -> settings.Settings:
        return settings.load(home, os.environ)

    # Delivery

    def wake(self) -> None:
        """Make sure that a sidecar or a service delivers what was appended.

        May raise anything, because it starts a process, and a program may have replaced any part of that. The
        event is in the spool by then.
        """
        to_wake, self.to_wake = self.to_wake, None
        if to_wake is not None:  # otherwise another thread does it
            self._wake(to_wake)

    def _wake(self, to_wake: Delivery) -> launch.Wake:
        try:
            return launch.wake(*to_wake, os.environ, self._may_create)
        except OSError as error:
            raise from_os_error(error, str(to_wake.host.lock)) from error

    def flush(self, timeout_s: float) -> bool:
        """As ``emit.flush``; may raise."""
        lock = self._lock
        if lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as in `emit`
            return self._aside(Emitter.flush, timeout_s)
        began = time.monotonic()
        try:
            if not self._take(lock):
                return self._aside(Emitter.flush, timeout_s)
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
def _waiting() -> type[Waiting]:
    from .pending import Waiting

    return Waiting
