"""The two coarse hardware facts that a sidecar adds to the events of its own host.

The emitter computes them only to log a payload (``FLWR_TELEMETRY_LOGGING=1``). No event depends on them: a
container may hide ``/proc`` or show an empty ``/proc/meminfo``, and psutil may not be importable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from types import ModuleType

from .imports import psutil
from .named import Any

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from .settings import Settings

_GIB = 1024**3

_MEASURES: dict[str, Callable[[ModuleType], int | None]] = {
    "cpu_count_physical": lambda loaded: loaded.cpu_count(logical=False) or None,
    "memory_gib": lambda loaded: round(total / _GIB) if (total := loaded.virtual_memory().total) else None,
}


def hardware_facts() -> dict[str, int]:
    """Physical cores, and memory rounded to whole GiB. A fact that psutil cannot find out is missing."""
    found: dict[str, int] = {}
    for name, measure in _MEASURES.items():
        # psutil raises many things where /proc is not as it expects: KeyError, ValueError, RuntimeError.
        with contextlib.suppress(Exception):
            if (value := measure(psutil())) is not None:
                found[name] = value
    return found


def known_facts(settings: Settings) -> dict[str, int]:
    """As ``hardware_facts``; none with ``hardware = false``."""
    return hardware_facts() if settings.hardware else {}


def add_facts(context: dict[str, Any], facts: Mapping[str, int]) -> dict[str, Any]:
    """An event's context with hardware facts, as it is sent; the same context if it has no ``hw``."""
    if not facts or not isinstance(context.get("hw"), dict):
        return context
    return {**context, "hw": {**context["hw"], **facts}}
