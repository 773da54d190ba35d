"""Defines the values that switch telemetry on. It is small, because every process with Flower imports it."""

from __future__ import annotations

TYPE_CHECKING = False  # as in the package's `__init__`
if TYPE_CHECKING:
    from collections.abc import Mapping

SWITCH = "FLWR_TELEMETRY_ENABLED"


def says_yes(value: object) -> bool:
    """Whether a value of ``FLWR_TELEMETRY_ENABLED`` switches telemetry on."""
    return isinstance(value, str) and value.lower() in {"1", "true", "yes", "on"}


def plain_flower_reports(environ: Mapping[str, str]) -> bool:
    """Whether a Flower that is not adopted reports by itself: its own telemetry is on for "1" alone."""
    return environ.get(SWITCH, "1") == "1"
