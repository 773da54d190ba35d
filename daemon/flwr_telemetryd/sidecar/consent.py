"""Consent check before every request and write; reads the settings files only, never the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr_telemetry import settings
from flwr_telemetry.layout import Home

from ..outbox import purge


class ConsentGate:
    """A call returns whether telemetry is on. It reads the settings again if one of their files changed.

    Args:
        home: the home.
        site_file: the site's settings.
        keepalive: called at each check while telemetry is on, to feed the watchdog and the heartbeat.
    """

    def __init__(self, home: Home, site_file: Path, keepalive: Callable[[], None]) -> None:
        self._home = home
        self._site_file = site_file
        self._keepalive = keepalive
        self._key: tuple[object, ...] | None = None
        self.settings: settings.Settings
        """The settings that the last call used."""

    def __call__(self) -> bool:
        """Whether telemetry is on; after an opt-out by the user, the unsent events are deleted."""
        key = settings.signature(self._home, self._site_file)
        if key != self._key:
            self.settings = settings.load(self._home, None, site_file=self._site_file)
            self._key = key
        consent = self.settings.consent
        if consent.enabled:
            self._keepalive()
            return True
        purge.if_asked(self._home, consent)
        return False

    def invalidate(self) -> None:
        """Make the next call read the files, even if they look unchanged."""
        self._key = None
