"""event() and flush(): what Flower calls, and the one place that catches everything.

The way of an event is ``emitter.py``: it is checked and packed, appended to the spool, and then, at most
once a second, somebody is found who delivers it. Nothing here may touch the network, raise into the
caller, wait for anything but a lock, and that for milliseconds, or leave a thread, a child or an open
pipe behind. If anything is wrong, telemetry loses.

Loading this module loads nothing but what every Python process has; third-party
modules come with the first event.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import TelemetryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .emitter import Emitter

_T = TypeVar("_T")

LOGGER_NAME = "flwr-telemetry"
"""Flower's own."""

_MAX_WARNINGS = 64


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
    return report("flwr", event_type, event_details)


def report(package: str, event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
    """``event`` for one of ``context.PACKAGES``, in the schema of that package."""
    try:
        return (_process.emitter or _emitter()).emit(event_type, event_details, package)
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


class _Process:
    """The one object of a process: the emitter, once there is one, what it has loaded and warned of."""

    emitter: Emitter | None = None
    fork_waited = False
    # There is one object of this class.
    loaded: set[str] = set()  # noqa: RUF012
    warned: set[str] = set()  # noqa: RUF012


_process = _Process()


def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork,
            after_in_parent=_after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )


def _emitter() -> Emitter:
    if _process.emitter is None:
        # Who we are is asked within: the C library's locks are no better off in a child than Python's.
        fresh = _undisturbed(_new_emitter)
        # Two first events at once: whoever comes second takes what is there, and its cluster ID.
        with _loading_lock:
            _process.emitter = _process.emitter or fresh
    return _process.emitter


def _new_emitter() -> Emitter:
    from .emitter import Emitter

    return Emitter(warn)


_FORK_WAIT_S = 1.0
_LOAD_WAIT_S = 10.0
_loading_lock = threading.RLock()


def load(*names: str) -> Any:
    """Import modules undisturbed by signals and forks, and give the last of them; raises as imports do."""
    if not _process.loaded.issuperset(names):
        _undisturbed(lambda: [importlib.import_module(name) for name in names])
        _process.loaded.update(names)
    return importlib.import_module(names[-1])


def _undisturbed(function: Callable[[], _T]) -> _T:
    """Call what imports, where neither a signal handler nor a fork can come between.

    Python runs signal handlers in the main thread, and in the midst of an import too: an event in a handler
    would meet modules that are half there, and a handler that ends the process would leave them so. So the
    main thread lets another one import, and waits for it: an event in a handler then waits for the
    same modules. A fork is put off, for a child that is forked amid an import waits for ever for the import
    of a thread that it does not have.

    Raises:
        TelemetryError: it takes too long, because the event was reported in the midst of an import of
            something that is needed here.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return _locked(function)
    told: list[_T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            told.append(_locked(function))
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            raised.append(error)

    thread = threading.Thread(target=run)
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is about to end
        return _locked(function)
    thread.join(_LOAD_WAIT_S)
    if raised:
        raise raised[0]
    if not told:
        msg = "the emitter could not be loaded: an event within an import waits for that import"
        raise TelemetryError(msg)
    return told[0]


def _locked(function: Callable[[], _T]) -> _T:
    with _loading_lock:
        return function()


def _before_fork() -> None:
    _process.fork_waited = _loading_lock.acquire(timeout=_FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    if _process.fork_waited:
        _loading_lock.release()


def _after_fork_in_child() -> None:
    global _loading_lock  # noqa: PLW0603 - a lock cannot be mended, only replaced
    _loading_lock = threading.RLock()


def quietly(function: Callable[..., object], *arguments: object) -> None:
    """Call something that the process may have replaced, such as a log handler; its failure is its own."""
    with contextlib.suppress(Exception):
        function(*arguments)


def warn(cause: str, message: str) -> None:
    """Log one warning per process and cause, as long as there are not too many causes."""
    if cause not in _process.warned and len(_process.warned) < _MAX_WARNINGS:
        _process.warned.add(cause)
        quietly(logging.getLogger(LOGGER_NAME).warning, "%s", message)


def _failed(error: Exception) -> Future[str]:
    """A future that carries ``error``, or one of our classes in its place. Uses only what is loaded."""
    ours = error
    if not isinstance(error, TelemetryError):
        # Its text may quote the event, so only its kind is told; the original stays reachable as the cause.
        ours = TelemetryError(f"unexpected {type(error).__name__}; please report it")
        ours.__cause__ = error
    warn(str(ours), f"An event could not be recorded: {ours}")
    future: Future[str] = Future()
    future.set_exception(ours)
    return future


_watch_forks()
