"""What stands in Flower's telemetry module once it is adopted: ``event`` and ``create_event``.

Each looks like the function whose place it takes (its name, module and text), so that it is pickled by that
name: a Ray worker which unpickles it finds its own, and one without us finds Flower's.

A program may also speak to Flower's module itself, and is heard there as before: ``FLWR_TELEMETRY_ENABLED``
set to anything but ``"1"`` in the module is a no, and a ``create_event`` that the program has put into it
is called by Flower's own ``event``. Nothing here may send.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import emit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

_SWITCH = "FLWR_TELEMETRY_ENABLED"


def stand_ins(module: ModuleType, package: str) -> dict[str, Callable[..., Any]]:
    """Make the functions that take the place of those of the same name in ``module``.

    Args:
        module: a telemetry module of Flower's, executed and not adopted yet.
        package: one of ``context.PACKAGES``: whose events they report.

    Returns:
        Each of the two that the module has. ``create_event`` gives the result of ``event`` alone:
        ``"spooled"``, or ``"disabled"`` also where the event could not be spooled, for Flower's own answers
        a failed delivery so.
    """
    own = {name: getattr(module, name, None) for name in ("event", "create_event")}
    own_event: Any = own["event"]
    switch = getattr(module, _SWITCH, None)

    def report(event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
        # What it was at the start is the variable's value, by which the emitter judges better.
        if getattr(module, _SWITCH, None) not in (switch, "1"):
            return disabled()
        return emit.report(package, event_type, event_details)

    def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
        if getattr(module, "create_event", None) not in (own["create_event"], ours["create_event"]):
            return own_event(event_type, event_details)  # type: ignore[no-any-return]
        return report(event_type, event_details)

    def create_event(event_type: str, event_details: Mapping[str, Any] | None = None) -> str:
        future = report(event_type, event_details)
        return "disabled" if future.exception() else future.result()

    ours = {"event": event, "create_event": create_event}
    return {name: functools.wraps(old)(ours[name]) for name, old in own.items() if callable(old)}


def disabled() -> Future[str]:
    """A future that says that telemetry is off."""
    future: Future[str] = Future()
    future.set_result("disabled")
    return future
