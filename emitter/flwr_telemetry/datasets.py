"""Defines ``event`` for flwr-datasets, whose telemetry module imports it from here.

Its events have the schema of that package: the context names it in ``package``, and there is no ``partner``.
"""

from __future__ import annotations

from . import emit
from .named import Any

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

__all__ = ["event"]


def event(event_type: str, event_details: Mapping[str, Any] | None = None) -> Future[str]:
    """Report an event of flwr-datasets; in all else as ``flwr_telemetry.event``."""
    return emit.report("flwr-datasets", event_type, event_details)
