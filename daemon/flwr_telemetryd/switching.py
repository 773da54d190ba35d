"""Switch telemetry off or on for good: the user's word, and all that follows from it.

*Off*: the setting is written; a sidecar that runs sees it before its next request and ends; what was not
sent is deleted on every host. At most the request in flight still goes out. *On*: the setting is written.

This room must never work in a home that belongs to another user.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import presence, settings
from flwr_telemetry.errors import SettingsError, TelemetryError
from flwr_telemetry.layout import Home, HostPaths

from . import backlog, purge, setting, stages
from .backlog import Left
from .clock import Clock
from .errors import UnusableHomeError
from .retention import hosts

COUNT_S = 0.5
"""What waits has to be counted before the no is written, after which a sidecar deletes it, too."""

END_WAIT_S = 5.0

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """What came of switching off.

    Attributes:
        purged: what waited, on all hosts together, as far as that could be counted within ``COUNT_S``.
        sidecar_ended: whether none runs any more; else one has a request in flight, and ends with it.
        aside: where a settings file is kept that could not be understood or edited; None without one.
        problems: what could not be deleted, one sentence each.
    """

    purged: Left
    sidecar_ended: bool
    aside: Path | None
    problems: list[str]


def switch_off(home: Home, clock: Clock) -> SwitchedOff:
    """Write the no, wait at most ``END_WAIT_S`` for sidecars to end, and purge.

    Raises:
        UnusableHomeError: the home belongs to somebody else.
        TelemetryError, OSError: the setting cannot be written.
    """
    check_owner(home)
    known = hosts(home)
    waiting = _count(known, clock)
    aside: Path | None = None
    try:
        setting.write_enabled(home, enabled=False)
    except SettingsError:
        aside = setting.write_no_alone(home)
    presence.signal_service(home.host())
    deadline = clock.monotonic() + END_WAIT_S
    while (lives := any(map(_lives, known))) and clock.monotonic() < deadline:
        clock.sleep(_POLL_S)
    purge.all_but_the_past(home)
    # Once more, for a writer that had read the yes a moment before the no was written.
    problems = purge.all_but_the_past(home)
    return SwitchedOff(waiting, not lives, aside, problems)


def switch_on(home: Home) -> None:
    """Write the yes; whether telemetry is on then is for ``settings.load`` to say.

    Raises:
        As ``switch_off``; and SettingsError if the file cannot be understood.
    """
    check_owner(home)
    setting.write_enabled(home, enabled=True)


def check_owner(home: Home) -> None:
    """Raise UnusableHomeError unless the home is ours, or would be."""
    if not settings.is_owned(home.path):
        msg = f"{home.path} belongs to another user; run this as its owner, or set FLWR_HOME"
        raise UnusableHomeError(msg)


def _count(known: list[HostPaths], clock: Clock) -> Left:
    """What waits; nothing that stands in its place, and no number of files, may keep a no from being said."""
    deadline = clock.monotonic() + COUNT_S
    events = bodies = 0
    for host in known:
        for is_body, listing, count in (
            (False, stages.spool_segments, backlog.in_segment),
            (True, stages.outbox_bodies, backlog.in_body),
        ):
            with contextlib.suppress(OSError, TelemetryError):
                for path in listing(host):
                    if clock.monotonic() >= deadline:
                        return Left(events, bodies)
                    with contextlib.suppress(OSError, TelemetryError):
                        events += count(path)
                        bodies += is_body
    return Left(events, bodies)


def _lives(host: HostPaths) -> bool:
    try:
        return presence.alive(host)
    except (OSError, TelemetryError):
        return False  # what stands in the lock's place is no sidecar's
