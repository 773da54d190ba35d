"""event() and flush(): what Flower calls, and the one place that catches everything.

The way of an event is ``emitter.py``: it is checked and packed, appended to the spool, and then, at most
once a second, somebody is found who delivers it. Nothing here may touch the network, raise into the
caller, wait for anything but a lock, and that for milliseconds, or leave a thread, a child or an open
pipe behind. If anything is wrong, telemetry loses.

Loading this module loads nothing but what every Python process has; third-party modules come with the first
event, which waits for them (``loading.py``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .errors import TelemetryError
from .loading import Loading

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
    """The one object of a process: the emitter, once there is one, what it loads and has warned of."""

    def __init__(self) -> None:
        self.emitter: Emitter | None = None
        self.loading = Loading()
        self.warned: set[str] = set()


_process = _Process()
_process.loading.watch_forks()


def _emitter() -> Emitter:
    if _process.emitter is None:
        _process.loading.undisturbed(_make_emitter)
    assert _process.emitter is not None
    return _process.emitter


def _make_emitter() -> None:
    """Make it, unless somebody else's first event has.

    Who we are is asked here too: the C library's locks are no better off in a forked child than Python's.
    """
    if _process.emitter is None:
        from .emitter import Emitter

        _process.emitter = Emitter(warn)


def load(*names: str) -> Any:
    """As ``Loading.load``."""
    return _process.loading.load(*names)


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
