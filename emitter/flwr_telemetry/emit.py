"""Defines event() and flush(), which Flower calls, and catches every exception in them.

``emitter.py`` does the work. No function here uses the network, raises into its caller, or leaves a child
process or an open pipe behind. An event waits for locks, or for the file server of a shared home, but only
for milliseconds. The first one also waits for its imports. After an error the event is lost, and the caller
goes on.

A SpoolSlowError means that the file server does not answer. Then the event is not lost: it stays in memory,
and a helper thread writes it later; see ``shared_home.py``.

If another event is still loading the emitter, an event is kept in memory. It is appended when the imports
end, or at the end of the process. So a slow disk or a busy machine costs no event.

Once a record is in the spool, its future says "spooled". No later step, such as the start of a sidecar,
changes that answer.

This module imports only the standard library. Third-party modules are imported at the first event (see
``imports.py``).
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress

from . import details, system
from .errors import (
    LoadingError,
    SpoolSlowError,
    TelemetryError,
    from_os_error,
    raised_by_handler,
    reraise_from_handler,
)
from .imports import undisturbed
from .locks import polls
from .log import quietly, warn
from .named import Any, NamedTuple
from .switch import SWITCH, says_yes

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .emitter import Emitter
    from .layout import Home
    from .shared_home import SharedHome
    from .worker import Worker

SPOOLED, DISABLED = "spooled", "disabled"

MAX_KEPT = 256
"""The largest number of events that are kept in memory."""

EXIT_WAIT_S = 5.0
"""The longest wait of an exit for the imports of another thread, if an event is kept."""

_EXIT_POLL_S = 0.01


def _wait_for_delivery() -> None:
    """At the exit, wait for delivery if ``goodbye.py`` says so; only if this process has emitted."""
    try:
        if _loaded is not None and _loaded.has_spooled:
            from . import goodbye

            goodbye.wait_for_delivery(_loaded.flush, warn)
    except (SystemExit, KeyboardInterrupt):
        pass  # a signal handler of the program ends the wait; the exit goes on
    except Exception as error:  # noqa: BLE001 - telemetry never raises into the caller
        _failed(error, "Events end with this container, because no delivery could be asked for")


# Registered only where such a wait is possible. It is registered first, so it runs last: the handlers of the
# program and of this module may report events.
if not system.WINDOWS and 1 in (os.getpid(), os.getppid()):
    atexit.register(_wait_for_delivery)


def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
    """Report an event.

    Args:
        event_type: a member of ``EventType`` (ours or Flower's), or a string ``[A-Z][A-Z0-9_]{0,63}``.
        event_details: a JSON-like mapping, at most 8 KiB encoded. The home directory, the user name and
            the host name are replaced in its strings.

    Returns:
        A future that is done. Its result is ``"spooled"``, or ``"disabled"`` if telemetry is off; or it
        carries a ``flwr_telemetry.errors.TelemetryError`` whose message says what to do. An event that is
        kept in memory, because another one is still loading the emitter, is ``"spooled"``, too. One that is
        kept because a file server does not answer carries a ``SpoolSlowError``.

    Signature and use are those of ``flwr``'s own ``event``. It never waits for the network, and raises
    nothing of its own. If a signal handler of the program raises meanwhile, the program gets that exception.
    """
    try:  # not by `report`: at the limit of the stack, a call outside of `try` would raise
        return _report("flwr", event_type, event_details)
    except _NOTHING_LEFT:
        return _LOST
    except Exception:  # noqa: BLE001
        reraise_from_handler()
        return _LOST


def report(package: str, event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
    """``event`` for one of ``identity.PACKAGES``, in the schema of that package."""
    try:
        return _report(package, event_type, event_details)
    except _NOTHING_LEFT:
        return _LOST
    except Exception:  # noqa: BLE001
        reraise_from_handler()
        return _LOST


def flush(timeout: float = 2.0) -> bool:
    """Ask for delivery now, and wait for it.

    Args:
        timeout: how long to wait, in seconds.

    Returns:
        Whether everything that was spooled before the call is delivered, or rejected. False at once if no
        sidecar or service can serve the request. It raises nothing of its own, as ``event``.
    """
    try:
        return _flush(timeout)
    except _NOTHING_LEFT:
        return False
    except Exception:  # noqa: BLE001
        reraise_from_handler()
        return False


def _report(
    package: str, event_type: str, event_details: Mapping[str, Any] | None, date_us: int | None = None
) -> Future[str]:
    """As ``report``. ``date_us`` is the time of an event that was kept in memory."""
    answer = None
    try:
        try:
            emitter = _loaded
            if emitter is None:
                date_us = date_us or time.time_ns() // 1000  # loading may take seconds
                emitter = _load(package, event_type, event_details, date_us)
            answer = emitter.emit(event_type, event_details, package, date_us)
            if emitter.to_wake is not None:
                emitter.wake()
        except LoadingError:
            if answer is None:
                answer = _keep(package, event_type, event_details, date_us)
        if _kept:
            _append_kept()
    except Exception as error:  # noqa: BLE001 - telemetry never raises into the caller
        reraise_from_handler()
        if answer is None:
            return _not_recorded(error)
        quietly(_failed, error, "No sidecar could be started ({}); events wait in the spool", "start")
    return answer


def _flush(timeout_s: float) -> bool:
    try:
        return _emitter().flush(timeout_s)
    except Exception as error:  # noqa: BLE001 - telemetry never raises into the caller
        reraise_from_handler()
        _failed(error, "No delivery could be asked for ({}); events wait in the spool", "flush")
        return False


# Loading

_loaded: Emitter | None = None


@undisturbed
def _emitter() -> Emitter:
    """The emitter of this process, made by the first event.

    It asks the C library for the user. A fork must not come meanwhile either, because a child would find the
    library's locks taken.
    """
    from .emitter import Emitter

    return Emitter(warn, _open_shared)


def _open_shared(emitter: Emitter, home: Home) -> SharedHome:
    shared_home, worker = _for_shared_homes()
    return shared_home(worker.of(emitter, home), home.path, _failed)


@undisturbed
def _for_shared_homes() -> tuple[type[SharedHome], type[Worker]]:
    """Hardly any home is shared, so these imports wait."""
    from .shared_home import SharedHome
    from .worker import Worker

    return SharedHome, Worker


def _load(package: str, event_type: str, event_details: Mapping[str, Any] | None, date_us: int) -> Emitter:
    """Load the emitter for this event. The event is kept if a signal handler raises meanwhile."""
    global _loaded  # noqa: PLW0603 - one attribute, because every event reads it
    try:
        _loaded = _emitter()
    except BaseException as error:
        if not isinstance(error, Exception) or raised_by_handler(error):
            quietly(_keep, package, event_type, event_details, date_us)
        raise
    return _loaded


# Events that wait for the imports of another one


class _Kept(NamedTuple):
    package: str
    event_type: str
    event_details: dict[str, Any]
    date_us: int


_kept: deque[_Kept] = deque()
_is_appending = False


def _keep(
    package: str, event_type: str, event_details: Mapping[str, Any] | None, date_us: int | None
) -> Future[str]:
    """Keep an event until the emitter is loaded. Its future is done at once, because no caller may wait.

    Raises:
        TelemetryError: the event is not valid, or too many wait.
    """
    if len(_kept) >= MAX_KEPT:
        raise TelemetryError(f"{MAX_KEPT} events wait for the emitter to be loaded; the disk may be slow")
    name, copy = details.event_type_name(event_type), details.copied(event_details)
    _kept.append(_Kept(package, name, copy, date_us or time.time_ns() // 1000))
    answer: Future[str] = Future()
    answer.set_result(SPOOLED if says_yes(os.environ.get(SWITCH, "1")) else DISABLED)
    return answer


def _append_kept() -> None:
    """Append the kept events, in the order of their dates. One that must wait again is kept again."""
    global _is_appending  # noqa: PLW0603 - one caller appends, and no other waits for it
    if _is_appending:
        return
    waiting: list[_Kept] = []
    try:
        _is_appending = True
        with suppress(IndexError):  # another thread may append them, too
            while True:
                waiting.append(_kept.popleft())
        waiting.sort(key=lambda kept: -kept.date_us)
        while waiting:
            _report(*waiting.pop())
    finally:
        _kept.extend(waiting)  # none, unless a signal handler has raised
        _is_appending = False


@atexit.register
def _append_at_exit() -> None:
    # After Ctrl-C the process has to end by that signal. Python would forget the signal if it loaded modules
    # now.
    is_interrupted = _loaded is None and getattr(sys, "last_type", None) is KeyboardInterrupt
    if _kept and not is_interrupted:
        _append_kept()
        for _ in polls(EXIT_WAIT_S, _EXIT_POLL_S):
            if not _kept:
                break
            _append_kept()
    if _kept:
        warn("exit", f"{len(_kept)} events are lost, because the process ended before the emitter was loaded")
    if _loaded is not None:
        _loaded.end()


def _after_fork() -> None:
    global _is_appending  # noqa: PLW0603
    _kept.clear()  # they are the parent's, which appends them
    _is_appending = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Failures


def _not_recorded(error: Exception) -> Future[str]:
    """The future of an event that is not in the spool. There is no warning if a server was slow only once."""
    if not isinstance(error, SpoolSlowError):
        return _failed(error, "An event could not be recorded: {}")
    return _failed(error, "An event is {}") if error.is_lasting else _future(error)


def _failed(error: Exception, effect: str, cause: str = "") -> Future[str]:
    """Log a warning; returns a future with ``error``, or with a TelemetryError in its place.

    Args:
        error: the error; one that is not of this package is replaced.
        effect: the sentence to log; ``{}`` stands for the error.
        cause: the same cause and type of error are logged once. Without a cause, the same text is.

    It imports nothing.
    """
    ours = error
    if isinstance(error, OSError):
        ours = from_os_error(error, str(error.filename or "the emitter"))
    elif isinstance(error, _NOTHING_LEFT):
        ours = TelemetryError(_TEXT_OF_LOST)
    elif not isinstance(error, TelemetryError):
        # The error's text, its causes and the variables of its frames may hold the event. So the message
        # names only the type and the line.
        ours = TelemetryError(f"unexpected {type(error).__name__}{_place(error)}; please report it")
    warn(f"{cause}: {type(error).__name__}" if cause else str(ours), effect.format(ours))
    return _future(ours)


def _future(error: Exception) -> Future[str]:
    """A future with an error, but without the frames of its traceback, because they hold the event."""
    error.__traceback__ = error.__context__ = None
    future: Future[str] = Future()
    future.set_exception(error)
    return future


def _place(error: Exception) -> str:
    """The innermost line of this package that an error came through."""
    place, trace = "", error.__traceback__
    while trace is not None:
        scope = trace.tb_frame.f_globals
        if scope.get("__package__") == __package__:
            place = f" in {scope.get('__name__')}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


_NOTHING_LEFT = MemoryError, RecursionError
"""After these errors no memory or stack may be left to handle them."""
_TEXT_OF_LOST = "no stack or memory was left to record the event"
_LOST: Future[str] = Future()
_LOST.set_exception(TelemetryError(_TEXT_OF_LOST))
"""Made in advance: when it is needed, there may be no memory for it."""
