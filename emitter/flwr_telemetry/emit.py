"""event() and flush(): what Flower calls, and the one place that catches everything.

The way of an event is ``emitter.py``: it is checked and packed, appended to the spool, and then, at most
once a second, somebody is found who delivers it. Nothing here may touch the network, raise into the
caller, wait for anything but a lock, and that for milliseconds, or leave a thread, a child or an open
pipe behind. If anything is wrong, telemetry loses.

Loading this module loads nothing but what every Python process has; the rest comes with the first event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from .emitter import Emitter


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
        return (_the_one.get("emitter") or _emitter()).emit(event_type, event_details)
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


_the_one: dict[str, Emitter] = {}


def _emitter() -> Emitter:
    from .emitter import Emitter

    # setdefault is atomic: two first events at once share one object, and one cluster ID.
    return _the_one.get("emitter") or _the_one.setdefault("emitter", Emitter())


def _failed(error: Exception) -> Future[str]:
    """A future that carries ``error``, or one of our classes in its place; one warning per cause."""
    from concurrent.futures import Future

    from .errors import TelemetryError

    ours = error
    if not isinstance(error, TelemetryError):
        # Its text may quote the event, so only its kind is told; the original stays reachable as the cause.
        ours = TelemetryError(f"unexpected {type(error).__name__}; please report it")
        ours.__cause__ = error
    _emitter().warn(str(ours), f"An event could not be recorded: {ours}")
    future: Future[str] = Future()
    future.set_exception(ours)
    return future
