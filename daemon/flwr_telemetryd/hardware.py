"""The two coarse hardware facts that the sidecar adds to events of its own host."""

from __future__ import annotations

import psutil

_GIB = 1024**3


def hardware_facts() -> dict[str, int]:
    """Physical cores, if the system tells them, and memory rounded to whole GiB."""
    found = {"memory_gib": round(psutil.virtual_memory().total / _GIB)}
    if cores := psutil.cpu_count(logical=False):
        found = {"cpu_count_physical": cores, **found}
    return found
