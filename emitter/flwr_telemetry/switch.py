"""Which words mean yes. Must stay as small as it is: who only adopts Flower loads it too."""

from __future__ import annotations

_YES = frozenset({"1", "true", "yes", "on"})


def says_yes(value: object) -> bool:
    """Whether a value of ``FLWR_TELEMETRY_ENABLED`` is a yes."""
    return isinstance(value, str) and value.lower() in _YES
