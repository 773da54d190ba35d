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
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .errors import TelemetryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .emitter import Emitter

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
    """The one object of a process: the emitter, once there is one, and the warnings that were given."""

    emitter: Emitter | None = None
    fork_waited = False
    warned: set[str] = set()  # noqa: RUF012 - there is one object of this class


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
        with loading():
            from .emitter import Emitter
        fresh = Emitter(warn)
        # Two first events at once: whoever comes second takes what is there, and its cluster ID.
        with _loading_lock:
            _process.emitter = _process.emitter or fresh
    return _process.emitter


_FORK_WAIT_S = 1.0
_loading_lock = threading.RLock()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Keep signals from this thread, and forks from this process, while modules are loaded.

    A handler that runs in the middle of an import meets modules that are half there, and a child that is
    forked then waits for ever for the import of a thread that it does not have. Both are put off by some
    tens of milliseconds. Nothing but imports may stand under this: they end.
    """
    former = None
    with _loading_lock:
        try:
            if hasattr(signal, "pthread_sigmask"):
                former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
            yield
        finally:
            if former is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _before_fork() -> None:
    _process.fork_waited = _loading_lock.acquire(timeout=_FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    if _process.fork_waited:
        _loading_lock.release()


def _after_fork_in_child() -> None:
    global _loading_lock  # noqa: PLW0603 - a lock cannot be mended, only replaced
    _loading_lock = threading.RLock()


# A blocked fault would end the process without a word.
_FAULTS = {
    getattr(signal, name, None) for name in "SIGSEGV SIGBUS SIGFPE SIGILL SIGABRT SIGTRAP SIGSYS".split()
}


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
