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
import signal
from collections.abc import Iterator
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
    try:
        return (_process.emitter or _emitter()).emit(event_type, event_details)
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
    warned: set[str] = set()  # noqa: RUF012 - there is one object of this class


_process = _Process()


def _emitter() -> Emitter:
    if _process.emitter is None:
        with signals_held():
            from .emitter import Emitter

            # Two first events at once: whoever comes second takes what is there, and its cluster ID.
            fresh = Emitter(warn)
            _process.emitter = _process.emitter or fresh
    return _process.emitter


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep signals from this thread while modules are loaded.

    A handler that runs in the middle of an import meets modules that are half there, and its event would
    be lost. What arrives meanwhile is delivered at the end, tens of milliseconds later.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


# A blocked fault would end the process without a word.
_FAULTS = {
    getattr(signal, name, None) for name in "SIGSEGV SIGBUS SIGFPE SIGILL SIGABRT SIGTRAP SIGSYS".split()
}


def warn(cause: str, message: str) -> None:
    """Log one warning per process and cause, as long as there are not too many causes."""
    if cause not in _process.warned and len(_process.warned) < _MAX_WARNINGS:
        _process.warned.add(cause)
        logging.getLogger(LOGGER_NAME).warning("%s", message)


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
