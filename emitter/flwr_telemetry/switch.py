"""Defines the words that mean yes. It stays small, because every process that adopts Flower imports it."""

from __future__ import annotations

_YES = frozenset({"1", "true", "yes", "on"})


def says_yes(value: object) -> bool:
    """Whether a value of ``FLWR_TELEMETRY_ENABLED`` switches telemetry on."""
    return isinstance(value, str) and value.lower() in _YES
