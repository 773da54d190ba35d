"""The decisions of a sidecar, as functions of its observations. Pure.

Durations are in seconds. An age is a difference, never the time of a clock.
"""

from __future__ import annotations

import enum
import math

from flwr_telemetry.settings_file import Limits

from ..runtime import Mode

SEAL_SIZE_BYTES = 4 * 1024 * 1024
SERVICE_ADOPT_S = 30.0
ON_DEMAND_ADOPT_S = 120.0
POLL_S = 0.25
LONGEST_WAIT_S = 30.0
FULL_PASS_S = 600.0
"""A network file system may show a change late, or give two changes the same time."""

GONE_AFTER = 20
"""A host is gone after this many times the age at which its spool is adopted."""


class ExitReason(enum.Enum):
    """Why a sidecar ends."""

    IDLE = "nothing was left to do"
    DRAINED = "everything is delivered"
    OFFLINE = "the collector could not be reached for too long"
    UNDELIVERED = "not everything could be delivered now"
    DISABLED = "telemetry is off"
    REMOVED = "its directory was removed or replaced"
    UNINSTALLED = "its program was removed or replaced"
    LOST = "another sidecar has claimed this host"


def seal_is_due(
    size_bytes: int, age_s: float, window_s: float, *, may_batch: bool, immediately: bool
) -> bool:
    """Whether to seal the open segment.

    Args:
        size_bytes: the size of the segment; an empty one is never sealed.
        age_s: the age of the oldest event in it.
        window_s: the burst window.
        may_batch: whether a batch may be made now; otherwise only a full segment is sealed.
        immediately: whether to seal before the burst window is over.
    """
    is_over = immediately or age_s >= window_s
    return size_bytes >= SEAL_SIZE_BYTES or (size_bytes > 0 and may_batch and is_over)


def age_of_oldest_s(by_date_s: float, *, seen_s: float, unseen_s: float) -> float:
    """The age of the oldest event in the open segment, from which the burst window counts.

    A sidecar may live shorter than the window, so its first sight of an event does not count. The date in an
    event counts, within the limits of the sidecar's own observations, because the clock of a process may be
    wrong. An event from the future means that a clock was set back: it may be of any age.

    Args:
        by_date_s: the age by the event's own date; infinite if that cannot be read.
        seen_s: the time since the sidecar first saw the segment.
        unseen_s: the time since the last check in which this segment was not there; infinite without one.
    """
    return min(max(by_date_s if by_date_s >= 0 else math.inf, seen_s), unseen_s)


def reason_to_end(
    mode: Mode, limits: Limits, *, waits: bool, quiet_s: float, failing_s: float, may_try: bool, stuck: bool
) -> ExitReason | None:
    """Why to end now, or None.

    Args:
        mode: the mode of this sidecar.
        limits: the limits in the settings.
        waits: whether anything is undelivered.
        quiet_s: the time since anything was undelivered.
        failing_s: the time since the first failure after the last success; minus infinity without a failure.
        may_try: whether a request may be sent now.
        stuck: whether the last pass changed nothing.
    """
    if mode is Mode.SERVICE:
        return None
    if mode is Mode.ONCE:
        if failing_s >= 0:
            return ExitReason.UNDELIVERED
        if not waits:
            return ExitReason.DRAINED
        return ExitReason.UNDELIVERED if stuck or not may_try else None
    if not waits and quiet_s >= limits.idle_exit_s:
        return ExitReason.IDLE
    return ExitReason.OFFLINE if failing_s >= limits.offline_exit_s else None


def gone_after_s(mode: Mode, limits: Limits) -> float:
    """For how long nothing of another host must have changed before its empty directory is deleted."""
    return GONE_AFTER * adopt_after_s(mode, limits)


def service_wait(
    limits: Limits, *, waits: bool, blocked_s: float, quiet_s: float, others_wait: bool
) -> tuple[float, float]:
    """The sleep of a service after a pass; a change in the home ends it earlier.

    Args:
        limits: the limits in the settings.
        waits: whether anything of this host is undelivered.
        blocked_s: for how long no request may be sent.
        quiet_s: the time since anything changed in the home.
        others_wait: whether anything of other hosts is undelivered.

    Returns:
        The longest time between two checks for a change, and the time after which a pass is due even
        without one; in seconds.
    """
    if waits and blocked_s > 0:
        return LONGEST_WAIT_S, blocked_s
    if waits and quiet_s > limits.burst_window_s + 4 * POLL_S:
        return LONGEST_WAIT_S, LONGEST_WAIT_S  # the window is over, so a local fault prevents the delivery
    if waits:
        return POLL_S, 0.0
    gone_s = gone_after_s(Mode.SERVICE, limits)
    if others_wait and quiet_s < gone_s:
        interval_s = adoption_interval_s(Mode.SERVICE, limits)
        return interval_s, interval_s
    return LONGEST_WAIT_S, min(FULL_PASS_S, gone_s)


def on_demand_wait(
    limits: Limits, *, waits: bool, blocked_s: float, ends_in_s: float, others_wait: bool
) -> tuple[float, float]:
    """The sleep of a sidecar on demand after a pass; short, because a request for delivery must be seen soon.

    Args:
        limits: the limits in the settings.
        waits: whether anything of this host is undelivered.
        blocked_s: for how long nothing can be done for it, because of a backoff or the burst window.
        ends_in_s: the time until the sidecar ends if nothing changes.
        others_wait: whether anything of other hosts is undelivered, as far as that is known.

    Returns:
        As ``service_wait``.
    """
    if waits and blocked_s <= 0:
        return POLL_S, 0.0
    others_s = adoption_interval_s(Mode.ON_DEMAND, limits) if waits or others_wait else FULL_PASS_S
    return POLL_S, max(min(others_s, ends_in_s, blocked_s if waits else math.inf), 0.0)


def adoption_interval_s(mode: Mode, limits: Limits) -> float:
    """The time between two searches for hosts to adopt from."""
    return min(max(adopt_after_s(mode, limits) / 4, POLL_S), LONGEST_WAIT_S)


def adopt_after_s(mode: Mode, limits: Limits) -> float:
    """For how long another host's spool must not have grown before it is adopted."""
    if limits.adopt_after_s is not None:
        return limits.adopt_after_s
    return SERVICE_ADOPT_S if mode is Mode.SERVICE else ON_DEMAND_ADOPT_S
