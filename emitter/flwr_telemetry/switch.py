"""Defines the values that switch telemetry on. It is small, because every process with Flower imports it."""

from __future__ import annotations


def says_yes(value: object) -> bool:
    """Whether a value of ``FLWR_TELEMETRY_ENABLED`` switches telemetry on."""
    return isinstance(value, str) and value.lower() in {"1", "true", "yes", "on"}
