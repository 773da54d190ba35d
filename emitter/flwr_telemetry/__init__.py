"""The public names of the emitter, and nothing else.

They are loaded when first asked for, so that a process which only *might* emit (every Python process
under ``flwr-telemetry run``) pays for none of them. Importing this package must never load a
third-party module, write a file or start anything.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the name mypy knows; `typing` itself is not worth loading here
if TYPE_CHECKING:
    from .emit import event, flush
    from .event_types import EventType

__all__ = ["EventType", "event", "flush"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from . import emit, event_types

    value: object = getattr(event_types if name == "EventType" else emit, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
