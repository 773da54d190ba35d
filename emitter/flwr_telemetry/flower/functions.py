"""Makes the two functions that replace Flower's in an adopted telemetry module: ``event``, ``create_event``.

Each keeps the name, module and docstring of the function that it replaces, so that it is pickled by that
name. A Ray worker that unpickles it finds its own replacement, and a worker without this package finds
Flower's function.

Flower's own code asks a future for its result, and does not expect an error of this package. If an event
could not be reported, the emitter has logged a warning, and the result is ``"disabled"``, as in Flower.

A program may also change Flower's module, and each change has its effect. If ``FLWR_TELEMETRY_ENABLED`` in
the module does not switch telemetry on, it is an opt-out. If the program has put a ``create_event`` there,
Flower's own ``event`` calls it. If the program has put another address there, nothing is reported, because
this package does not send to it. No function here may send.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .. import emit, log
from ..switch import SWITCH, says_yes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

ANOTHER_ADDRESS = (
    "Nothing is reported, because TELEMETRY_EVENTS_URL in Flower's module has been changed; "
    "set `url` in the settings of flwr-telemetry instead"
)


def replacements(module: ModuleType, package: str, mark: str) -> dict[str, Callable[..., Any]]:
    """Make the functions that replace those of the same name in ``module``.

    Args:
        module: a telemetry module of Flower's, executed and not adopted yet.
        package: the one of ``identity.PACKAGES`` whose events they report.
        mark: the attribute in which a replacement holds itself, once it is in its place.

    Returns:
        One for each of the two that the module has. ``create_event`` returns ``"spooled"`` or ``"disabled"``
        itself, without a future.
    """
    own = {name: getattr(module, name, None) for name in ("event", "create_event")}
    own_event: Any = own["event"]
    address = getattr(module, "TELEMETRY_EVENTS_URL", None)

    def report(event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
        # The emitter itself obeys an opt-out in the environment, and logs the payload if it is asked to.
        if not says_yes(getattr(module, SWITCH, "1")) and says_yes(os.environ.get(SWITCH, "1")):
            return disabled()
        if getattr(module, "TELEMETRY_EVENTS_URL", None) != address:
            log.warn("address", ANOTHER_ADDRESS)
            return disabled()
        future = emit.report(package, event_type, event_details)
        return disabled() if future.exception() else future

    def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
        if not _is_flowers(getattr(module, "create_event", None), module, mark):
            return own_event(event_type, event_details)  # type: ignore[no-any-return]
        return report(event_type, event_details)

    def create_event(event_type: str, event_details: Mapping[str, Any] | None = None) -> str:
        return report(event_type, event_details).result()

    ours = {"event": event, "create_event": create_event}
    return {name: functools.wraps(old)(ours[name]) for name, old in own.items() if callable(old)}


def _is_flowers(creator: object, module: ModuleType, mark: str) -> bool:
    """Whether ``creator`` is Flower's own function or its replacement, even after a reload of the module."""
    return (
        creator is None
        or getattr(creator, mark, None) is creator
        or (getattr(creator, "__module__", None) == module.__name__ and not hasattr(creator, "__wrapped__"))
    )


def disabled() -> Future[str]:
    """A future whose result says that nothing was reported."""
    future: Future[str] = Future()
    future.set_result("disabled")
    return future
