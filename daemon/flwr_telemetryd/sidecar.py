"""The loop: what a sidecar does at every look, put together from the other rooms.

    consent? ─▶ flush? ─▶ unfinished batches ─▶ seal ─▶ take, write, commit ─▶ deliver ─▶ caps

Every decision is a function of the clock and of the directory; what is kept in memory (waits, failures)
may be lost at any moment without harm. Telemetry switched off ends the life of a sidecar before its
next request or file; if it was the user who did so, what was not sent is deleted.

This room must never read the environment: a sidecar judges by the files alone.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from flwr_telemetry import files, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.version import __version__
from flwr_telemetry.waiting import Waiting

from . import guard, hardware, purge, segments
from .backoff import Troubles
from .clock import Clock
from .courier import Courier
from .decisions import End, Mode, adopt_after_s, reason_to_end
from .housekeeping import Housekeeping, sweep_drafts
from .packing import Packer
from .serving import adoptable, anything_waits, bodies_wait
from .sinks.base import Sink
from .state import State

log = logging.getLogger("flwr_telemetryd")

POLL_S = 0.25
LONGEST_ADOPT_S = 30.0


class Sidecar:
    """One life of a sidecar.

    Args:
        home: whose events it delivers.
        mode: how long it lives.
        open_sink: makes the way out from the settings.
        sole: whether the host's lock is surely held, so that no other sidecar lives on this host.
        is_named: whether that lock is still the host's; a life without it would be another one's double.
        clock: time and chance.
        site_file: the site's settings.
    """

    def __init__(
        self,
        home: Home,
        mode: Mode,
        open_sink: Callable[[settings.Settings], Sink],
        *,
        sole: bool = True,
        is_named: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
        site_file: Path = settings.SITE_FILE,
    ) -> None:
        self.home = home
        self.host = home.host()
        self.mode = mode
        self._sole = sole
        self._is_named = is_named
        self._clock = clock or Clock()
        self._site_file = site_file
        self._settings_key: tuple[object, ...] | None = None
        self._settings: settings.Settings
        self._state = State.load(self.host)
        self._troubles = Troubles(self._clock, self._state, lambda: self._settings.limits)
        self._packer = Packer(
            secrets.token_hex(8),
            clock=self._clock,
            state=self._state,
            troubles=self._troubles,
            may_go_on=self._may_go_on,
            hardware=hardware.figures(),
        )
        self._courier = Courier(
            home,
            self.host,
            state=self._state,
            clock=self._clock,
            open_sink=open_sink,
            may_go_on=self._may_go_on,
            troubles=self._troubles,
        )
        self._asked = mode is Mode.ONCE
        self._at_start = Waiting(self.host)
        self._progress: tuple[int, ...] = ()
        self._barred_since: float | None = None
        self._housekeeping = Housekeeping(home, self.host, self._clock, self._file_system_now)
        self._drafts_may_lie = sole
        self._busy_at = self._clock.monotonic()
        self._adopt_at = self._busy_at

    # A life

    def run(self) -> End:
        """Look until there is a reason to end."""
        self._state.pid, self._state.mode, self._state.version = os.getpid(), self.mode.value, __version__
        self._state.started, self._state.ended = self._clock.now().isoformat(), ""
        end: End | None = None
        while end is None:
            end = self.look()
            if end is None:
                self._clock.sleep(POLL_S)
        # Off means off, and what was removed stays so: not even a word about it is written.
        silent = end in {End.DISABLED, End.REMOVED}
        if not silent:
            log.info("ending: %s", end.value)
        self.close("" if silent else end.value)
        return end

    def close(self, why: str) -> None:
        """Let go of the way out, and leave word why this life ended, if there is one to leave."""
        self._courier.close()
        if why and self.host.root.is_dir():
            self._state.ended = f"{self._clock.now().isoformat()} {why}"
            self._save()
        if self.mode is Mode.SERVICE:
            self.home.heartbeat(self.host.name).unlink(missing_ok=True)

    def look(self) -> End | None:
        """Everything that is to be done now; why to end, or None.

        Raises:
            SpoolUnsafeError: the directory is no longer surely ours.
        """
        if not self._may_go_on():
            return End.DISABLED
        if not self._is_named():
            return End.REMOVED
        guard.check_root(self.host)
        if self._drafts_may_lie:
            self._drafts_may_lie = False
            sweep_drafts(self.host)
        self._troubles.new_look()
        self._keep_caps()
        for host in [self.host, *self._adopted()]:
            self._troubles.attempt(f"host {host.name}", functools.partial(self._serve, host), None)
            if not self._may_go_on():  # a request may have taken long
                return End.DISABLED
        self._keep_caps()
        if not self._may_go_on():
            return End.DISABLED
        self._save()
        if self.mode is Mode.SERVICE and self._courier.failing_since is None:
            self._troubles.attempt("heartbeat", self._housekeeping.beat, None)
        return self._reason_to_end()

    def _keep_caps(self) -> None:
        keep = functools.partial(self._housekeeping.keep_caps, self._settings.limits, self._packer.sealed)
        self._troubles.attempt("caps", keep, None)

    def _reason_to_end(self) -> End | None:
        now = self._clock.monotonic()
        waits = self._troubles.attempt("look", self._waits, otherwise=True)
        if waits:
            self._busy_at = now
        may_try = self._courier.may_try()
        if not waits or may_try:
            self._barred_since = None
        elif self._barred_since is None:
            self._barred_since = now  # by a Retry-After that an earlier life heard
        failures = (self._courier.failing_since, self._troubles.since(), self._barred_since)
        since = min((moment for moment in failures if moment is not None), default=None)
        return reason_to_end(
            self.mode,
            self._settings.limits,
            waits=waits,
            quiet_s=now - self._busy_at,
            failing_s=None if since is None else now - since,
            may_try=may_try,
            stuck=self._is_stuck(),
        )

    def _waits(self) -> bool:
        """Whether anything is left to wait for; `--once` does not wait for what came in meanwhile."""
        return anything_waits(self.host) if self.mode is not Mode.ONCE else not self._at_start.is_over()

    def _is_stuck(self) -> bool:
        """Whether this look changed nothing; what waits then waits for somebody else."""
        state = self._state
        before = self._progress
        self._progress = (self._packer.made, state.requests, state.damaged, state.rejected)
        return self._progress == before

    # Consent

    def _may_go_on(self) -> bool:
        """Consent by the files, read again when one of them changed."""
        key = settings.signature(self.home, self._site_file)
        if key != self._settings_key:
            self._settings = settings.load(self.home, None, site_file=self._site_file)
            self._settings_key = key
            self._courier.use(self._settings)
        consent = self._settings.consent
        if consent.enabled:
            return True
        purge.if_asked(self.home, consent)
        return False

    # Hosts

    def _adopted(self) -> list[HostPaths]:
        """Other hosts of this home whose spool has not grown for a while; looked for now and then."""
        now = self._clock.monotonic()
        if now < self._adopt_at:
            return []
        after_s = adopt_after_s(self.mode, self._settings.limits)
        if self.mode is not Mode.ONCE:
            self._adopt_at = now + min(max(after_s / 4, POLL_S), LONGEST_ADOPT_S)
        none: list[HostPaths] = []
        found = self._troubles.attempt(
            "adoption",
            lambda: list(adoptable(self.home, self.host.name, after_s, self._file_system_now)),
            none,
        )
        # What is adopted is served at every look until it is empty.
        if found:
            self._adopt_at = now
        return found

    def _serve(self, host: HostPaths) -> None:
        guard.check(host)
        own = host.name == self.host.name
        if own and self._troubles.attempt("flush", self._obey_flush, otherwise=False):
            self._asked = True
            self._courier.skip_backoff()
            self._troubles.skip()
        limits = self._settings.limits
        self._courier.put_right(host)
        # While deliveries fail no new batch is taken: an outage ends in a few well-coalesced uploads.
        works = self._courier.failing_since is None and self._courier.may_try()
        takes = self._asked or works or not bodies_wait(host)
        if segments.listing(host.work):
            # Only a lock of our own says that all others are dead; else a batch must have been left alone.
            now = None if own and self._sole else self._file_system_now()
            self._packer.finish(host, limits, now, own=own)
        self._packer.pack(host, limits, takes=takes, at_once=self._asked or not own, own=own)
        if self._courier.may_try():
            self._troubles.attempt("delivery", lambda: self._courier.deliver(host), None)
        if own and self.mode is not Mode.ONCE:
            self._asked = False

    def _obey_flush(self) -> bool:
        """Whether somebody asked for delivery now; asking again later counts anew."""
        try:
            self.host.flush.unlink()
        except FileNotFoundError:
            return False
        return True

    def _file_system_now(self) -> float:
        return files.now(self.host.state)

    def _save(self) -> None:
        try:
            self._state.save(self.host)
        except (OSError, TelemetryError) as error:
            log.warning("cannot write %s: %s", self.host.state, error)
