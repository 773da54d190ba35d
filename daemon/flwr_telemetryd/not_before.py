"""``not-before``: a ``Retry-After`` that outlives the sidecar that heard it.

The file holds the seconds that were asked for; its own time tells when that was, so that no host's
clock is asked. Whatever stands there, and however clocks are set, nobody waits for longer than a day.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths

from .delivery import MAX_RETRY_AFTER_S

_MAX_BYTES = 64
_TOLERANCE_S = 1.0


def keep(host: HostPaths, after_s: float) -> None:
    """Note that the collector asks to be left alone for ``after_s`` from now on."""
    files.replace_bytes(host.not_before, f"{after_s}\n".encode())


def remaining_s(host: HostPaths, now: Callable[[], float]) -> float:
    """The seconds that are left of it; 0 or less if they are over or none were asked for.

    Args:
        host: whose.
        now: the time of the file system, in seconds since its epoch; asked only if it matters.
    """
    try:
        asked_s = min(float(files.read_bytes(host.not_before, _MAX_BYTES)), MAX_RETRY_AFTER_S)
        written = host.not_before.stat().st_mtime
    except (OSError, TelemetryError, ValueError):
        return 0.0
    if not asked_s > 0:  # nor is it that for NaN
        return 0.0
    try:
        # The age may be negative, where a clock was set back; see `put_right`.
        return asked_s - max(now() - written, 0.0)
    except (OSError, TelemetryError):
        return asked_s  # whoever cannot tell the time waits


def put_right(host: HostPaths, now: Callable[[], float]) -> None:
    """Count from now on where the file's time lies ahead of ``now``: a clock was set back since.

    Else the wait would last until that clock has caught up, which may take years.
    """
    with contextlib.suppress(OSError, TelemetryError):
        if host.not_before.lstat().st_mtime > now() + _TOLERANCE_S:
            files.touch(host.not_before)


def forget(host: HostPaths) -> None:
    """A request went through: nothing is to be waited for any more."""
    with contextlib.suppress(OSError):  # what cannot be removed asks for nothing either
        host.not_before.unlink(missing_ok=True)
