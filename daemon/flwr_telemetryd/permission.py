"""May we go on? Consent by the files, asked before every request and every file that is written.

The files are read again when one of them changed. A sidecar judges by them alone: this room must never read
the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr_telemetry import settings
from flwr_telemetry.layout import Home

from . import purge


class Permission:
    """One life's; called, it answers whether telemetry is on.

    Args:
        home: whose.
        site_file: the site's settings.
        on_change: told the settings whenever they were read.
        on_yes: called at every yes, which comes often: a sign of life can be given then.

    Attributes:
        settings: as they were read last.
    """

    def __init__(
        self,
        home: Home,
        site_file: Path,
        on_change: Callable[[settings.Settings], None],
        on_yes: Callable[[], None],
    ) -> None:
        self._home = home
        self._site_file = site_file
        self._on_change = on_change
        self._on_yes = on_yes
        self._watched = settings.watched(home, site_file)
        self._key: tuple[object, ...] | None = None
        self.settings: settings.Settings

    def __call__(self) -> bool:
        """Whether telemetry is on; if it is the user who switched it off, what was not sent is deleted."""
        key = settings.signature(self._watched)
        if key != self._key:
            self.settings = settings.load(self._home, None, site_file=self._site_file)
            self._key = key
            self._on_change(self.settings)
        consent = self.settings.consent
        if consent.enabled:
            self._on_yes()
            return True
        purge.if_asked(self._home, consent)
        return False

    def forget(self) -> None:
        """Read the files at the next call, whether they look changed or not."""
        self._key = None
