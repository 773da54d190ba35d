"""Defines event() and flush(), which Flower calls, and catches every exception in them.

``emitter.py`` does the work. No function here uses the network, raises into its caller, or leaves a thread,
a child process or an open pipe behind. An event waits for locks only, and for milliseconds. The first one
also waits for its imports. After any error the event is lost, and the caller goes on.

This module imports only the standard library. Third-party modules are imported at the first event (see
``imports.py``).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .errors import TelemetryError
from .imports import undisturbed
from .log import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .emitter import Emitter


def _leave() -> None:
    """Wait for delivery at the exit, where ``goodbye.py`` says so; only if this process has emitted."""
    try:
        if f"{__package__}.emitter" in sys.modules and (emitter := _emitter()).has_spooled:
            from . import goodbye

            goodbye.say(emitter.flush, warn)
    except (SystemExit, KeyboardInterrupt):
        pass  # a signal handler of the host ends the wait; the exit goes on
    except Exception as error:  # noqa: BLE001 - telemetry never raises into the caller
        warn("goodbye", f"No delivery could be asked for at the exit: {type(error).__name__}")


# Elsewhere nothing is even registered. The handler that is registered first runs last, because the others, of
# the host and of this module, may report events.
if 1 in (os.getpid(), os.getppid()):
    import atexit

    atexit.register(_leave)


def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
    """Report an event.

    Args:
        event_type: a member of ``EventType`` (ours or Flower's), or a string ``[A-Z][A-Z0-9_]{0,63}``.
        event_details: a JSON-like mapping, at most 8 KiB encoded. The home directory, the user name and
            the host name are replaced in its strings.

    Returns:
        A future that is done. Its result is ``"spooled"``, or ``"disabled"`` if telemetry is off; or it
        carries a ``flwr_telemetry.errors.TelemetryError`` whose message says what to do.

    Never raises, never waits for the network. Signature and use are those of ``flwr``'s own ``event``.
    """
    return report("flwr", event_type, event_details)


def report(package: str, event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
    """``event`` for one of ``context.PACKAGES``, in the schema of that package."""
    try:
        return _emitter().emit(event_type, event_details, package)
    except Exception as error:  # noqa: BLE001 - telemetry never raises into the caller
        return _failed(error)


def flush(timeout: float = 2.0) -> bool:
    """Ask for delivery now, and wait for it.

    Args:
        timeout: how long to wait, in seconds.

    Returns:
        Whether everything that was spooled at the call is delivered, or rejected. False at once if no sidecar
        or service can serve the request. Never raises.
    """
    try:
        return _emitter().flush(timeout)
    except Exception as error:  # noqa: BLE001 - as above
        _failed(error)
        return False


@undisturbed
def _emitter() -> Emitter:
    """The emitter of this process, made by the first event.

    It asks the C library for the user under the guard, because that library's locks do not survive a fork
    either.
    """
    from .emitter import Emitter

    return Emitter(warn)


def _failed(error: Exception) -> Future[str]:
    """A future with ``error``, or with a TelemetryError in its place; this function imports nothing."""
    ours = error
    if not isinstance(error, TelemetryError):
        # The message names the type alone, because the text may quote the event.
        ours = TelemetryError(f"unexpected {type(error).__name__}; please report it")
        ours.__cause__ = error
    warn(str(ours), f"An event could not be recorded: {ours}")
    future: Future[str] = Future()
    future.set_exception(ours)
    return future
