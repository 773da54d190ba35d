"""What stands in Flower's telemetry module once it is adopted: ``event`` and ``create_event``.

Each looks like the function whose place it takes (its name, module and text), so that it is pickled by that
name: a Ray worker which unpickles it finds its own, and one without us finds Flower's.

Flower's own code asks a future for its result and expects none of our errors: where an event could not be
reported, which the emitter has warned of, the result is ``"disabled"``, as in Flower.

A program may also speak to Flower's module itself, and is heard there as before. A value of
``FLWR_TELEMETRY_ENABLED`` in it that is no yes, as Flower has read it or as the program has set it, is a
no. A ``create_event`` that the program has put there is called by Flower's own ``event``. An address that it
has put there is not ours to send to: then nothing is reported. Nothing here may send.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import emit
from .flower import MARK
from .switch import says_yes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

SWITCH = "FLWR_TELEMETRY_ENABLED"
ANOTHER_ADDRESS = (
    "Nothing is reported, for TELEMETRY_EVENTS_URL in Flower's module has been changed; "
    "say `url` in the settings of flwr-telemetry instead"
)


def stand_ins(module: ModuleType, package: str) -> dict[str, Callable[..., Any]]:
    """Make the functions that take the place of those of the same name in ``module``.

    Args:
        module: a telemetry module of Flower's, executed and not adopted yet.
        package: one of ``context.PACKAGES``: whose events they report.

    Returns:
        Each of the two that the module has; ``create_event`` gives the result of ``event`` alone,
        ``"spooled"`` or ``"disabled"``.
    """
    own = {name: getattr(module, name, None) for name in ("event", "create_event")}
    own_event: Any = own["event"]
    address = getattr(module, "TELEMETRY_EVENTS_URL", None)

    def report(event_type: str, event_details: Mapping[str, Any] | None) -> Future[str]:
        # A variable that says no the emitter obeys by itself, and it knows what is to be logged then.
        if not says_yes(getattr(module, SWITCH, "1")) and says_yes(os.environ.get(SWITCH, "1")):
            return disabled()
        if getattr(module, "TELEMETRY_EVENTS_URL", None) != address:
            emit.warn("address", ANOTHER_ADDRESS)
            return disabled()
        future = emit.report(package, event_type, event_details)
        return disabled() if future.exception() else future

    def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
        if not _is_flowers(getattr(module, "create_event", None), module):
            return own_event(event_type, event_details)  # type: ignore[no-any-return]
        return report(event_type, event_details)

    def create_event(event_type: str, event_details: Mapping[str, Any] | None = None) -> str:
        return report(event_type, event_details).result()

    ours = {"event": event, "create_event": create_event}
    return {name: functools.wraps(old)(ours[name]) for name, old in own.items() if callable(old)}


def _is_flowers(creator: object, module: ModuleType) -> bool:
    """Whether ``creator`` is what Flower has defined there, or what stands in for that; reloaded or not."""
    return (
        creator is None
        or getattr(creator, MARK, None) is creator
        or (getattr(creator, "__module__", None) == module.__name__ and not hasattr(creator, "__wrapped__"))
    )


def disabled() -> Future[str]:
    """A future that says that nothing was reported."""
    future: Future[str] = Future()
    future.set_result("disabled")
    return future
