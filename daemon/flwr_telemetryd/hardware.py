"""The two coarse figures that the sidecar adds to events of its own host."""

from __future__ import annotations

import psutil

_GIB = 1024**3


def figures() -> dict[str, int]:
    """Physical cores, and memory rounded to whole GiB; what cannot be told is left out."""
    found = {"memory_gib": round(psutil.virtual_memory().total / _GIB)}
    if cores := psutil.cpu_count(logical=False):
        found = {"cpu_count_physical": cores, **found}
    return found


def step_back() -> None:
    """Make this process yield to everything else: lowest CPU and I/O priority that a user may take."""
    process = psutil.Process()
    try:
        process.nice(10)
        if hasattr(process, "ionice"):
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
    except (psutil.Error, OSError):
        return  # a container may forbid it; then it is as it is
