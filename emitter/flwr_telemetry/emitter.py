"""Records an event, step by step; one object holds the state of a process.

refresh    read settings and source again, at most once a second, or at once if a variable has changed
pack       check and redact the event, and put it between parts that were packed before
append     write it to the spool
wake       start a sidecar, at most once a second, if none runs and no service serves the home
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from threading import get_ident
from typing import TYPE_CHECKING, Any

from . import context, details, files, launch, log, record, redaction, settings, source
from .errors import HomeUnavailableError, TelemetryError, UnsupportedPlatformError
from .imports import undisturbed
from .layout import Home, HostPaths, home_directory
from .locks import polls
from .spool import CreationRefusedError, Writer

if TYPE_CHECKING:
    from .pending import Waiting

BUSY_WAIT_S = 0.005
"""How long an event waits for the event of another thread."""

SPOOLED, DISABLED = "spooled", "disabled"

_FLUSH_POLL_S = 0.02
_POLLS_PER_WAKE = round(launch.RECHECK_S / _FLUSH_POLL_S)
_LOCK_POLL_S = 0.0001
_MAX_CACHED_TYPES = 256
_MIB = 1024 * 1024


class Emitter:
    """The state of a process: its settings, IDs and packed parts, and the open segment.

    Args:
        warn: logs one warning, given its cause and its text.

    Raises:
        UnsupportedPlatformError: this system has no POSIX locks and renames.
    """

    def __init__(self, warn: Callable[[str, str], None]) -> None:
        if os.name != "posix":
            msg = "flwr-telemetry works on Linux and macOS only; nothing is recorded here"
            raise UnsupportedPlatformError(msg)
        self._warn = warn
        self._cluster = source.new_id()
        self._redactor = redaction.identity_redactor()
        self._static: dict[str, dict[str, Any]] = {}
        self._heads: dict[str, bytes] = {}
        self._futures: dict[str, Future[str]] = {}
        self._last_date_us = [record.MIN_DATE_US]
        self._writers: set[Writer] = set()
        self._start_afresh()
        os.register_at_fork(after_in_child=self._after_fork)

    def _start_afresh(self) -> None:
        """Forget the settings and IDs, and the open segment without closing it."""
        self._lock = threading.Lock()
        self._holder = 0
        self._details = details.DetailsEncoder(self._redactor)
        self._seen: tuple[Any, ...] | None = None
        self._refresh_at = 0.0
        self._signatures: tuple[Any, ...] = ()
        self._ids: dict[str, str] = {}
        self._contexts: dict[str, tuple[bytes, bytes]] = {}
        self._home: Home
        self._host: HostPaths
        self._settings: settings.Settings
        self._enabled = self._logging = False
        self._cap_bytes = 0.0
        self._writer: Writer | None = None
        self.has_spooled = False
        """Whether this process has written to the spool."""

    def _after_fork(self) -> None:
        self._futures = {}  # a thread that the child does not have may hold a lock of one
        # A child shares the open files of its parent, and their locks: unlocking one unlocks the parent's.
        # So the child first closes every file that it inherited, and starts afresh.
        for writer in list(self._writers):
            writer.close()
        self._writers.clear()
        self._start_afresh()

    # Recording an event

    def emit(self, event_type: str, event_details: Mapping[str, Any] | None, package: str) -> Future[str]:
        """As ``emit.report``; may raise."""
        if self._lock.locked() and not self._is_free():
            with self._sibling() as sibling:
                return sibling.emit(event_type, event_details, package)
        # `with`, because no signal handler can run between taking such a lock and the promise to release it.
        with self._lock:
            self._holder = get_ident()
            try:
                now = time.monotonic()
                due = now >= self._refresh_at or self._seen != settings.variables()
                if due:
                    self._refresh(now)
                if not self._enabled and not self._logging:
                    return self._done(DISABLED)
                payload = self._pack(event_type, event_details, package)
                if self._logging:
                    log.quietly(log.log_payload, payload)
                if not self._enabled:
                    return self._done(DISABLED)
                (self._writer or self._open()).append(record.frame(payload), self._cap_bytes)
                if due:
                    self._wake()
                return self._done(SPOOLED)
            except CreationRefusedError:
                return self._done(DISABLED)  # consent, read again, allows no new file
            finally:
                self._holder = 0

    def _is_free(self) -> bool:
        """Whether the lock becomes free soon; never for a signal handler that interrupted its holder."""
        if self._holder == get_ident():
            return False
        is_free = not self._lock.locked()
        return is_free or any(not self._lock.locked() for _ in polls(BUSY_WAIT_S, _LOCK_POLL_S))

    @contextlib.contextmanager
    def _sibling(self) -> Iterator[Emitter]:
        """A copy with its own descriptor and lock, so that the event in progress goes on."""
        sibling = Emitter.__new__(Emitter)  # as `copy.copy` does, whose import costs a first event 0.3 ms
        vars(sibling).update(vars(self))
        sibling._start_afresh()  # noqa: SLF001 - another Emitter
        try:
            yield sibling
        finally:
            sibling._close_writer()  # noqa: SLF001 - another Emitter

    def _pack(self, event_type: str, event_details: Mapping[str, Any] | None, package: str) -> bytes:
        # An enum member's hash is a slow Python function; that of its text is not.
        name = str.__str__(event_type) if isinstance(event_type, str) else details.event_type_name(event_type)
        head = self._heads.get(name) or self._head_of(name)
        packed_details = self._details.packed(event_details)
        packed_context = self._contexts.get(package) or self._context_of(package)
        date_us = time.time_ns() // 1000
        last = self._last_date_us
        # There is no call between reading and writing it, so no thread or handler can run between them.
        last[0] = date_us = date_us if date_us > last[0] else last[0] + 1
        return record.assemble(head, packed_details, packed_context, date_us)

    def _head_of(self, name: str) -> bytes:
        head = record.event_head(details.event_type_name(name))
        if len(self._heads) < _MAX_CACHED_TYPES:
            self._heads[name] = head
        return head

    def _open(self) -> Writer:
        self._writer = Writer(self._host, self._may_create, lambda: log.quietly(log.first_contact))
        self._writers.add(self._writer)
        self.has_spooled = True
        return self._writer

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
        signatures = (settings.signature(home), source.read(home.source))
        if variables != self._seen or signatures != self._signatures:
            self._close_writer()
            self._home, self._host = home, home.host()
            self._use(settings.load(home, os.environ))
            consent = self._settings.consent
            if consent.malformed:
                self._warn(consent.reason, f"Telemetry is off: {consent.reason}")
            if consent.enabled or self._logging:
                self._identify(may_create=consent.enabled)
            # The source file may have been created just now. Without it the next refresh tries again.
            is_known = self._ids.get("source") != source.UNAVAILABLE
            self._signatures = (signatures[0], source.read(home.source)) if is_known else ()
        self._seen = variables
        self._refresh_at = now + launch.RECHECK_S

    def _use(self, known: settings.Settings) -> None:
        """Use these settings from now on; those that every event needs get attributes of their own."""
        self._settings = known
        self._enabled, self._logging = known.consent.enabled, known.logging
        self._cap_bytes = known.limits.spool_max_mib * _MIB

    def _identify(self, *, may_create: bool) -> None:
        """Update the IDs by the source file; create that one if it is missing and consent allows it."""
        path = self._home.source
        found = source.read(path)
        if found is None and may_create and self._may_create():
            with contextlib.suppress(OSError):  # the writer gets the same error, and a better message
                files.make_home(self._home.path)
            found = source.ensure(path)
        self._ids = {
            "partner": context.partner_id(self._settings.partner),
            "source": found or source.UNAVAILABLE,
            "cluster": self._cluster,
        }
        self._contexts = {}

    def _context_of(self, package: str) -> tuple[bytes, bytes]:
        """The packed context of a package's events, made once for many events."""
        if package not in self._static:
            self._static[package] = context.static_context(package, context.package_version(package))
        has_partner = context.PACKAGES[package].has_partner
        ids = {name: value for name, value in self._ids.items() if has_partner or name != "partner"}
        self._contexts[package] = record.context_parts(ids, self._static[package])
        return self._contexts[package]

    def _may_create(self) -> bool:
        return settings.load(self._home, os.environ).consent.enabled

    # Delivery

    def _wake(self) -> launch.Wake:
        """Make sure that a sidecar or service delivers. If that fails, the event still is in the spool."""
        try:
            return launch.wake(self._home, self._host, self._settings, os.environ, self._may_create)
        except (OSError, RuntimeError, ValueError, ImportError, TelemetryError) as error:
            cause = f"wake:{type(error).__name__}"
            self._warn(cause, f"No sidecar could be started ({error}); events wait in the spool")
            return launch.Wake.NOT_ALLOWED

    def flush(self, timeout_s: float) -> bool:
        """As ``emit.flush``; may raise."""
        if not self._is_free():
            with self._sibling() as sibling:
                return sibling.flush(timeout_s)
        began = time.monotonic()
        with self._lock:
            self._refresh(began)
        if not self._enabled:
            return False
        waiting = _waiting()(self._host)
        if waiting.is_over():
            return True
        if not self._may_create():
            return False
        launch.request_flush(self._host)
        if self._wake() is launch.Wake.NOT_ALLOWED:
            return waiting.is_over()
        left_s = timeout_s - (time.monotonic() - began)
        for number, _ in enumerate(polls(left_s, _FLUSH_POLL_S), start=1):
            if waiting.is_over():
                return True
            if number % _POLLS_PER_WAKE == 0 and self._wake() is launch.Wake.NOT_ALLOWED:
                break
        return waiting.is_over()


@undisturbed
def _waiting() -> type[Waiting]:
    from .pending import Waiting

    return Waiting
