"""``flwr-telemetry disable`` and ``enable``: write the setting, and do what follows from it.

After an opt-out, a running sidecar sees the setting before its next request and ends. Everything unsent is
deleted on every host of the home. At most the request in flight still goes out. If the setting cannot be
written, for example on a full disk, everything unsent is deleted first. That makes room, and leaves nothing
that could be sent.

This module never works in a home that belongs to another user.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import machine, presence, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home

from ..clock import Clock
from ..errors import UnusableHomeError, describe
from ..inspect.status import alive
from ..outbox import purge
from ..outbox.backlog import Backlog, Counter
from ..spool.directory import known_hosts
from . import config_file

COUNT_S = 0.5
"""Seconds for counting what waits. The count comes before the opt-out, after which a sidecar deletes files
too."""

END_WAIT_S = 5.0
"""Seconds that a running sidecar has to end."""

_POLL_S = 0.05
_TRIES = 3  # another process may take the space that a purge has freed


@dataclass(frozen=True, slots=True)
class DisableResult:
    """Result of an opt-out."""

    purged: Backlog
    """Unsent events and bodies on all hosts, as far as they could be counted within ``COUNT_S``."""

    sidecar_ended: bool
    """False if a sidecar still runs: it has a request in flight, and ends after it."""

    old_settings: Path | None
    """The old settings file, which is kept if it could not be parsed or edited."""

    problems: list[str]
    """One sentence for each thing that could not be deleted."""

    refusal: str = ""
    """Why the opt-out could not be written; empty if it was written."""


def disable(home: Home, clock: Clock) -> DisableResult:
    """Write the opt-out, wait at most ``END_WAIT_S`` for sidecars to end, and delete what was not sent.

    Raises:
        UnusableHomeError: the home belongs to another user.
        TelemetryError, OSError: the home cannot be read.
    """
    check_owner(home)
    known = known_hosts(home)
    count_ends = clock.monotonic() + COUNT_S
    waiting = Counter(known).left(lambda: clock.monotonic() >= count_ends)
    old_settings, refusal = _write_opt_out(home)
    presence.signal_service(machine.own_host(home))
    deadline = clock.monotonic() + END_WAIT_S
    # Without the opt-out no sidecar ends, and nothing is left that one could send.
    while (is_alive := any(map(alive, known))) and not refusal and clock.monotonic() < deadline:
        clock.sleep(_POLL_S)
    purge.everything_but_sent(home)
    # Twice, because a writer may have read the old setting just before the new one was written.
    problems = purge.everything_but_sent(home)
    return DisableResult(waiting, not is_alive, old_settings, problems, refusal)


def _write_opt_out(home: Home) -> tuple[Path | None, str]:
    """Write the opt-out; make room for it if it cannot be written. Gives the fields of ``DisableResult``."""
    refusal = ""
    for _ in range(_TRIES):
        try:
            return config_file.write_opt_out(home), ""
        except (OSError, TelemetryError) as error:
            refusal = describe(error, home.config)
        purge.everything_but_sent(home)
    return None, refusal


def enable(home: Home) -> None:
    """Write the opt-in. Other settings may still switch telemetry off: see ``settings.load``.

    Raises:
        SettingsError: the settings file cannot be parsed or edited.
        UnusableHomeError, TelemetryError, OSError: as ``disable``.
    """
    check_owner(home)
    config_file.write_enabled(home, enabled=True)


def check_owner(home: Home) -> None:
    """Raise UnusableHomeError if the home, or the directory that it would be made in, is another user's."""
    if not settings.is_owned(home.path):
        raise UnusableHomeError(f"{home.path} belongs to another user; run as its owner, or set FLWR_HOME")
