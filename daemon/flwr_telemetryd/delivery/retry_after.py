"""``not-before``: a ``Retry-After`` that outlives the sidecar that received it.

The file holds the number of seconds. Its modification time is the moment of the answer, so no host's clock
counts. The wait never exceeds a day, even if the file or a clock is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths

from .responses import MAX_RETRY_AFTER_S

_MAX_BYTES = 64
_TOLERANCE_S = 1.0


def keep(host: HostPaths, after_s: float) -> None:
    """Note that the collector wants no request for ``after_s`` seconds from now on."""
    files.replace_bytes(host.not_before, f"{after_s}\n".encode())


def remaining_s(host: HostPaths, now: Callable[[], float]) -> float:
    """The seconds that are left to wait; 0 or less without a wait.

    Args:
        host: the host whose file is read.
        now: gives the file system's time, in seconds since the epoch; called only if there is a wait.
    """
    asked_s = 0.0
    try:
        written = host.not_before.stat().st_mtime
        found_s = float(files.read_bytes(host.not_before, _MAX_BYTES))
        if found_s > 0:  # NaN is not
            asked_s = min(found_s, MAX_RETRY_AFTER_S)
            # The age is negative if a clock was set back; see `repair`.
            return asked_s - max(now() - written, 0.0)
    except (OSError, TelemetryError, ValueError):
        pass  # without the time, the whole wait is left
    return asked_s


def repair(host: HostPaths, now: Callable[[], float]) -> None:
    """Start the wait again if the file's time is after ``now``, because a clock was set back since.

    Otherwise the wait lasts until that clock reaches the file's time again, which may take years.
    """
    with contextlib.suppress(OSError, TelemetryError):
        if host.not_before.lstat().st_mtime > now() + _TOLERANCE_S:
            files.touch(host.not_before)


def forget(host: HostPaths) -> None:
    """Delete the file, because a request succeeded."""
    with contextlib.suppress(OSError):  # a file that cannot be removed does not matter
        host.not_before.unlink(missing_ok=True)
