"""event() and flush(): the way of an event, readable from top to bottom.

An event is checked and packed, then appended to the spool; then, at most once a second, somebody is
found who delivers it. Nothing here may touch the network, raise into the caller, wait for anything but
a lock, and that for milliseconds, or leave a thread, a child or an open pipe behind. If anything is
wrong, telemetry loses: this is the one place that catches everything.

The state of a process is one object, made at the first event. What was asked once is asked again after
``LOOK_AGAIN_S``, and at once when a variable that matters has changed.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from .settings import Settings

LOOK_AGAIN_S = 1.0
BUSY_WAIT_S = 0.005
"""How long an event waits for another thread's, or for the one that its signal handler interrupted."""

_FLUSH_POLL_S = 0.02
_MAX_CACHED_TYPES = 256
_MIB = 1024 * 1024

SPOOLED, DISABLED = "spooled", "disabled"

# os.environ encodes, decodes and raises inside for every name that is not set: 2 µs each. What is behind
# it is a plain dict; where it is not, we do without noticing changes between two looks.
_VARIABLES: Mapping[Any, Any] = getattr(os.environ, "_data", {})
_encode = getattr(os.environ, "encodekey", lambda name: name)
_WATCHED = tuple(
    _encode(name)
    for name in (
        "FLWR_TELEMETRY_ENABLED",
        "FLWR_TELEMETRY_LOGGING",
        "FLWR_TELEMETRY_PARTNER_ID",
        "FLWR_TELEMETRY_SIDECAR",
        "DO_NOT_TRACK",
        "FLWR_HOME",
        "HOME",
    )
)


def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
    """Report an event.

    Args:
        event_type: a member of ``EventType`` (ours or Flower's), or a string ``[A-Z][A-Z0-9_]{0,63}``.
        event_details: a JSON-like mapping, at most 8 KiB encoded. The home directory, the user name and
            the host name are replaced in its strings.

    Returns:
        A future that is done: its result is ``"spooled"``, or ``"disabled"`` where telemetry is off; or
        it carries a ``flwr_telemetry.errors.TelemetryError`` that says what to do.

    Never raises, never waits for the network. Form and use are those of ``flwr``'s own ``event``.
    """
    try:
        return _emitter().emit(event_type, event_details)
    except Exception as error:  # noqa: BLE001 - promise 1: whatever is wrong, telemetry loses
        return _failed(error)


def flush(timeout: float = 2.0) -> bool:
    """Ask for delivery now, and wait for it.

    Args:
        timeout: how long to wait, in seconds.

    Returns:
        Whether all that was spooled at the call is delivered (or rejected). False at once if nothing
        can serve the request. Never raises.
    """
    try:
        return _emitter().flush(timeout)
    except Exception as error:  # noqa: BLE001 - as above
        _failed(error)
        return False


class _Emitter:
    """The one object of a process."""

    def __init__(self) -> None:
        if os.name != "posix":
            from .errors import UnsupportedPlatformError

            msg = "flwr-telemetry works on Linux and macOS only; nothing is recorded here"
            raise UnsupportedPlatformError(msg)
        import uuid

        from .details import who_we_are

        self._cluster = str(uuid.uuid4())
        self._redactor = who_we_are()
        self._static: dict[str, Any] | None = None
        self._types: dict[str, bytes] = {}
        self._futures: dict[str, Future[str]] = {}
        self._last_date_us = [0]
        self.warned: set[str] = set()
        self._writers: set[Any] = set()
        self._start_afresh()
        os.register_at_fork(after_in_child=self._after_fork)

    def _start_afresh(self) -> None:
        """Forget all that was asked, and let go of all that is open, without closing it."""
        self._lock = threading.Lock()
        self._writer: Any = None
        self._seen: tuple[Any, ...] | None = None
        self._look_at = 0.0
        self._signatures: tuple[Any, ...] = ()
        self._settings: Settings
        self._context: tuple[bytes, bytes] = (b"", b"")

    def _after_fork(self) -> None:
        # A child shares its parent's open file and with it the lock on it: unlocking would unlock the
        # parent's. So it closes what it inherited before it does anything else, and starts afresh.
        for writer in list(self._writers):
            writer.close()
        self._writers.clear()
        self._start_afresh()

    # The way of an event

    def emit(self, event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
        if not self._lock.acquire(timeout=BUSY_WAIT_S):
            # Another thread is stuck, or we are a signal handler that interrupted an event: go apart.
            return self._emit_apart(event_type, event_details)
        try:
            now = time.monotonic()
            due = now >= self._look_at or self._seen != _variables()
            if due:
                self._look(now)
            if not self._settings.consent.enabled:
                if self._settings.logging:
                    self._log(self._pack(event_type, event_details))
                return self._done(DISABLED)
            payload = self._pack(event_type, event_details)
            if not self._append(payload):
                return self._done(DISABLED)
            if due:
                self._wake()
            if self._settings.logging:
                self._log(payload)
            return self._done(SPOOLED)
        finally:
            self._lock.release()

    def _emit_apart(self, event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
        """The same with a descriptor and a lock of its own, so that it can disturb nobody."""
        apart = copy.copy(self)
        apart._start_afresh()
        try:
            return apart.emit(event_type, event_details)
        finally:
            if apart._writer is not None:
                apart._writer.close()
                self._writers.discard(apart._writer)

    def _pack(self, event_type: str, event_details: Mapping[str, Any] | None) -> bytes:
        from . import details, record

        name = details.event_type_name(event_type)
        packed_type = self._types.get(name)
        if packed_type is None:
            packed_type = record.pack(name)
            if len(self._types) < _MAX_CACHED_TYPES:
                self._types[name] = packed_type
        packed_details = details.packed_details(event_details, self._redactor)
        last = self._last_date_us
        last[0] = max(time.time_ns() // 1000, last[0] + 1)
        return record.assemble(packed_type, packed_details, self._context, last[0])

    def _append(self, payload: bytes) -> bool:
        """Whether it is in the spool; False where consent, read afresh, says that nothing may be created."""
        from . import record
        from .spool import CreationRefusedError

        try:
            self._writer.append(record.frame(payload), self._settings.limits.spool_max_mib * _MIB)
        except CreationRefusedError:
            return False
        return True

    @staticmethod
    def _log(payload: bytes) -> None:
        from . import notices, record

        notices.log_payload(record.decode(payload))

    def _done(self, result: str) -> Future[str]:
        future = self._futures.get(result)
        if future is None:  # one finished future serves every call: nobody can change it any more
            from concurrent.futures import Future

            future = Future()
            future.set_result(result)
            self._futures[result] = future
        return future

    # What is looked at again at most once a second

    def _look(self, now: float) -> None:
        """Settings, source and context, as they are now."""
        from . import settings, source
        from .errors import HomeUnavailableError
        from .layout import Home, home_directory

        variables = _variables()
        try:
            home = Home(home_directory(os.environ))
        except HomeUnavailableError:
            if (refusal := settings.environment_refusal(os.environ)) is None:
                raise
            self._settings = settings.Settings(consent=refusal)
            return
        signatures = (settings.signature(home), source.signature(home.source))
        if variables != self._seen or signatures != self._signatures:
            if self._writer is not None:
                self._writer.close()
            self._home, self._host = home, home.host()
            self._settings = settings.load(home, os.environ)
            self._writer = self._writer or self._new_writer()
            self._warn_of_settings()
            self._identify(source)
            if not self._settings.consent.enabled:
                self._writer.close()
        # The source file may have come into being just now.
        self._signatures = (settings.signature(home), source.signature(home.source))
        self._seen = variables
        self._look_at = now + LOOK_AGAIN_S

    def _identify(self, source: Any) -> None:
        """Bring the packed context up to date with the source file, which is made if it may be."""
        from . import context, record

        path = self._home.source
        found = source.look(path)
        if found is None and self._settings.consent.enabled and self._may_create():
            with contextlib.suppress(OSError):  # the writer will say it better
                self._home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = source.ensure(path)
        if self._static is None:
            self._static = context.static_context(context.flower_package())
        before = {
            "partner": context.partner_id(self._settings.partner),
            "source": found or source.UNAVAILABLE,
            "cluster": self._cluster,
        }
        self._context = record.context_parts(before, self._static)

    def _may_create(self) -> bool:
        from . import settings

        return settings.load(self._home, os.environ).consent.enabled

    def _new_writer(self) -> Any:
        from .spool import Writer

        writer = Writer(self._home, self._host, self._may_create, self._first_contact)
        self._writers.add(writer)
        return writer

    def _first_contact(self) -> None:
        from . import notices

        notices.logger().info(notices.FIRST_CONTACT, self._home.config)

    def _warn_of_settings(self) -> None:
        consent = self._settings.consent
        if consent.malformed:
            self.warn(consent.reason, f"Telemetry is off: {consent.reason}")

    def warn(self, cause: str, message: str) -> None:
        """One warning a process and cause."""
        from . import notices

        if cause not in self.warned:
            self.warned.add(cause)
            notices.logger().warning("%s", message)

    # Delivery

    def _wake(self) -> Any:
        """See that somebody delivers; whatever is in the way of that, the event is in the spool."""
        from . import launch

        try:
            return launch.wake(
                self._home,
                self._host,
                setting=self._settings.sidecar,
                respawn_s=self._settings.limits.respawn_s,
                environ=os.environ,
            )
        except (OSError, RuntimeError, ValueError) as error:
            self.warn(
                f"wake:{type(error).__name__}",
                f"No sidecar could be started ({error}); events wait in the spool",
            )
            return launch.Wake.NOT_ALLOWED

    def flush(self, timeout_s: float) -> bool:
        from . import files, launch
        from .waiting import Waiting

        deadline = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=max(timeout_s, 0)):
            return False
        try:
            self._look(time.monotonic())
        finally:
            self._lock.release()
        if not self._settings.consent.enabled:
            return False
        waiting = Waiting(self._host)
        if waiting.is_over():
            return True
        if not self._may_create():
            return False
        files.touch(self._host.flush)
        while True:
            outcome = self._wake()
            if outcome is launch.Wake.NOT_ALLOWED:
                return waiting.is_over()
            look_again = time.monotonic() + LOOK_AGAIN_S
            while time.monotonic() < min(deadline, look_again):
                if waiting.is_over():
                    return True
                time.sleep(_FLUSH_POLL_S)
            if time.monotonic() >= deadline:
                return waiting.is_over()


def _variables() -> tuple[Any, ...]:
    """The raw values of the variables that matter."""
    get = _VARIABLES.get
    return tuple([get(name) for name in _WATCHED])


_the_one: dict[str, _Emitter] = {}


def _emitter() -> _Emitter:
    # setdefault is atomic: two first events at once share one object, and one cluster ID.
    return _the_one.get("emitter") or _the_one.setdefault("emitter", _Emitter())


_warned_early: set[str] = set()


def _failed(error: Exception) -> Future[str]:
    """A future that carries ``error``; one warning is logged per process and cause."""
    from concurrent.futures import Future

    from . import notices
    from .errors import TelemetryError

    warned = _the_one["emitter"].warned if _the_one else _warned_early
    cause = f"{type(error).__name__}: {error}" if isinstance(error, TelemetryError) else type(error).__name__
    if cause not in warned and len(warned) < _MAX_CACHED_TYPES:
        warned.add(cause)
        notices.logger().warning("An event could not be recorded: %s", error)
    future: Future[str] = Future()
    future.set_exception(error)
    return future
