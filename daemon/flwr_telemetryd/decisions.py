"""What a sidecar decides, as functions of what it sees. Pure.

Durations are in seconds; ages are differences, never times of a clock.
"""

from __future__ import annotations

import enum
import math

from flwr_telemetry.presence import SERVICE_MODE
from flwr_telemetry.settings_file import Limits

SEAL_SIZE_BYTES = 4 * 1024 * 1024
SERVICE_ADOPT_S = 30.0
ON_DEMAND_ADOPT_S = 120.0
POLL_S = 0.25
LONGEST_NAP_S = 30.0
FULL_LOOK_S = 600.0
"""A network file system may show a change late, or give two of them the same time."""

GONE_AFTER = 20
"""A host that was not seen for so many times the age at which it is adopted is gone."""


class Mode(enum.Enum):
    """How long a sidecar lives."""

    ON_DEMAND = "on demand"
    SERVICE = SERVICE_MODE
    ONCE = "once"


class End(enum.Enum):
    """Why a sidecar ends."""

    IDLE = "nothing was left to do"
    DRAINED = "everything is delivered"
    OFFLINE = "the collector could not be reached for too long"
    UNDELIVERED = "not everything could be delivered now"
    DISABLED = "telemetry is off"
    REMOVED = "its directory was removed or replaced"


def seal_is_due(size_bytes: int, age_s: float, window_s: float, *, takes: bool, at_once: bool) -> bool:
    """Whether to seal the open segment.

    Args:
        size_bytes: of the segment.
        age_s: since it was first seen to hold anything.
        window_s: the burst window.
        takes: whether a batch would be taken now; without that only a full segment is sealed.
        at_once: whether somebody asked not to wait for the window.
    """
    if size_bytes == 0:
        return False
    return size_bytes >= SEAL_SIZE_BYTES or (takes and (at_once or age_s >= window_s))


def reason_to_end(
    mode: Mode,
    limits: Limits,
    *,
    waits: bool,
    quiet_s: float,
    failing_s: float | None,
    may_try: bool,
    stuck: bool,
) -> End | None:
    """Why to end now, or None.

    Args:
        mode: how long this sidecar lives.
        limits: the numbers.
        waits: whether anything is undelivered.
        quiet_s: since anything was, if nothing is.
        failing_s: since the first failure after the last success; None without one.
        may_try: whether no wait is to be sat out.
        stuck: whether the last look changed nothing.
    """
    if mode is Mode.SERVICE:
        return None
    if mode is Mode.ONCE:
        if failing_s is not None:
            return End.UNDELIVERED
        if not waits:
            return End.DRAINED
        return End.UNDELIVERED if stuck or not may_try else None
    if not waits and quiet_s >= limits.idle_exit_s:
        return End.IDLE
    if failing_s is not None and failing_s >= limits.offline_exit_s:
        return End.OFFLINE
    return None


def gone_after_s(mode: Mode, limits: Limits) -> float:
    """How long nothing of another host must have changed before its empty directory is removed."""
    return GONE_AFTER * adopt_after_s(mode, limits)


def nap(
    limits: Limits, *, waits: bool, barred_s: float, calm_s: float, others_wait: bool
) -> tuple[float, float]:
    """How a service sleeps after a look; what happens meanwhile wakes it.

    Args:
        limits: the numbers.
        waits: whether anything of this host is undelivered.
        barred_s: for how long no delivery may be tried.
        calm_s: since anything changed in the home.
        others_wait: whether anything of other hosts is undelivered.

    Returns:
        The longest time between two looks at whether anything happened, and the time after which there
        is something to do in any case; in seconds.
    """
    if waits and barred_s > 0:
        return LONGEST_NAP_S, barred_s
    if waits and calm_s > limits.burst_window_s + 4 * POLL_S:
        return LONGEST_NAP_S, LONGEST_NAP_S  # the window is over: this machine is in the way of something
    if waits:
        return POLL_S, 0.0
    if others_wait and calm_s < gone_after_s(Mode.SERVICE, limits):
        interval_s = adoption_interval_s(Mode.SERVICE, limits)
        return interval_s, interval_s
    return LONGEST_NAP_S, min(FULL_LOOK_S, gone_after_s(Mode.SERVICE, limits))


def doze(limits: Limits, *, waits: bool, barred_s: float, ends_in_s: float) -> tuple[float, float]:
    """How a sidecar on demand sleeps after a look: lightly, so that who asks for delivery is heard.

    Args:
        limits: the numbers.
        waits: whether anything of this host is undelivered.
        barred_s: for how long nothing can be done for it: a backoff, or the burst window.
        ends_in_s: its end, if nothing happens.

    Returns:
        As ``nap``.
    """
    if waits and barred_s <= 0:
        return POLL_S, 0.0
    others_s = adoption_interval_s(Mode.ON_DEMAND, limits)
    return POLL_S, max(min(others_s, ends_in_s, barred_s if waits else math.inf), 0.0)


def adoption_interval_s(mode: Mode, limits: Limits) -> float:
    """The time between two looks at other hosts."""
    return min(max(adopt_after_s(mode, limits) / 4, POLL_S), LONGEST_NAP_S)


def adopt_after_s(mode: Mode, limits: Limits) -> float:
    """How long another host's spool must not have grown before it is adopted."""
    if limits.adopt_after_s is not None:
        return limits.adopt_after_s
    return SERVICE_ADOPT_S if mode is Mode.SERVICE else ON_DEMAND_ADOPT_S
