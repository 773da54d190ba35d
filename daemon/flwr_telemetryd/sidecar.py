"""The loop: what a sidecar does at every look, put together from the other rooms.

    consent? ─▶ flush? ─▶ unfinished batches ─▶ seal ─▶ take, write, commit ─▶ deliver ─▶ caps

Every decision is a function of the clock and of the directory; what is kept in memory (waits, failures)
may be lost at any moment without harm. Telemetry switched off ends the life of a sidecar before its
next request or file; if it was the user who did so, what was not sent is deleted.

This room must never read the environment: a sidecar judges by the files alone.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr_telemetry import files, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.version import __version__
from flwr_telemetry.waiting import has_bodies

from . import batch, hardware, purge, retention, segments
from .clock import Clock
from .courier import Courier
from .decisions import End, Mode, adopt_after_s, reason_to_end, seal_is_due
from .errors import LetGoError
from .sinks.base import Sink
from .state import State

log = logging.getLogger("flwr_telemetryd")

POLL_S = 0.25
HEARTBEAT_S = 30.0
RETENTION_S = 60.0
FOREIGN_WORK_S = 600.0


class Sidecar:
    """One life of a sidecar.

    Args:
        home: whose events it delivers.
        mode: how long it lives.
        open_sink: makes the way out from the settings.
        clock: time and chance.
        site_file: the site's settings.
    """

    def __init__(
        self,
        home: Home,
        mode: Mode,
        open_sink: Callable[[settings.Settings], Sink],
        *,
        clock: Clock | None = None,
        site_file: Path = settings.SITE_FILE,
    ) -> None:
        self.home = home
        self.host = home.host()
        self.mode = mode
        self.owner = secrets.token_hex(8)
        self._clock = clock or Clock()
        self._site_file = site_file
        self._settings_key: tuple[object, ...] | None = None
        self._settings: settings.Settings
        self._hardware = hardware.figures()
        self._state = State.load(self.host)
        self._courier = Courier(
            home,
            self.host,
            state=self._state,
            clock=self._clock,
            open_sink=open_sink,
            may_go_on=self._may_go_on,
        )
        self._asked = mode is Mode.ONCE
        self._first_seen: tuple[int, float] | None = None
        self._busy_at = self._clock.monotonic()
        self._retention_at = self._heartbeat_at = self._busy_at

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
        if end is not End.DISABLED:  # off means off: not even a word about it is written
            log.info("ending: %s", end.value)
        self.close("" if end is End.DISABLED else end.value)
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
        """Everything that is to be done now; why to end, or None."""
        if not self._may_go_on():
            return End.DISABLED
        try:
            self._keep_caps()
            for host in self._served():
                self._serve(host)
        except LetGoError as other:
            log.info("another sidecar has batch %s", other)
        except (OSError, TelemetryError) as error:
            log.warning("cannot go on now: %s", error)
            self._courier.failed(str(error))
        if not self._may_go_on():
            return End.DISABLED
        self._save()
        self._beat()
        return self._reason_to_end()

    def anything_waits(self) -> bool:
        """Whether this host has anything that was not delivered."""
        host = self.host
        try:
            if host.events.stat().st_size:
                return True
        except OSError:
            pass
        return bool(segments.sealed_segments(host) or segments.listing(host.work) or _has_bodies(host))

    def _reason_to_end(self) -> End | None:
        now = self._clock.monotonic()
        waits = self.anything_waits()
        if waits:
            self._busy_at = now
        since = self._courier.failing_since
        return reason_to_end(
            self.mode,
            self._settings.limits,
            waits=waits,
            quiet_s=now - self._busy_at,
            failing_s=None if since is None else now - since,
            may_try=self._courier.may_try(),
        )

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

    # Batches

    def _served(self) -> Iterable[HostPaths]:
        """This host, and others of this home whose spool has not grown for a while."""
        yield self.host
        after_s = adopt_after_s(self.mode, self._settings.limits)
        for host in retention.hosts(self.home):
            if host.name != self.host.name and host.spool.is_dir():
                touched = max(_modified(host.events), _modified(host.spool))
                if self._file_system_now() - touched >= after_s:
                    yield host

    def _serve(self, host: HostPaths) -> None:
        own = host.name == self.host.name
        if own and self._obey_flush():
            self._asked = True
            self._courier.skip_backoff()
        # While deliveries fail no new batch is taken: an outage ends in a few well-coalesced uploads.
        takes = self._asked or self._courier.failing_since is None or not _has_bodies(host)
        since = None if own else self._file_system_now() - FOREIGN_WORK_S
        for unfinished in batch.take_over(host, self.owner, untouched_since=since):
            self._make(unfinished, own=own)
            if not self._may_go_on():
                return
        if self._is_seal_due(host, own=own, takes=takes):
            segments.seal(host, self._clock.time_ns())
        while takes and (taken := batch.take(host, self.owner, self._clock.time_ns())) is not None:
            self._make(taken, own=own)
            if not self._may_go_on():
                return
        if self._courier.may_try():
            self._courier.deliver(host)
        if own and self.mode is not Mode.ONCE:
            self._asked = False

    def _obey_flush(self) -> bool:
        """Whether somebody asked for delivery now; asking again later counts anew."""
        try:
            self.host.flush.unlink()
        except FileNotFoundError:
            return False
        return True

    def _is_seal_due(self, host: HostPaths, *, own: bool, takes: bool) -> bool:
        try:
            status = host.events.lstat()
        except FileNotFoundError:
            return False
        now = self._clock.monotonic()
        if own and status.st_size and (self._first_seen is None or self._first_seen[0] != status.st_ino):
            self._first_seen = (status.st_ino, now)
        age_s = now - self._first_seen[1] if self._first_seen is not None else 0.0
        window_s = self._settings.limits.burst_window_s
        return seal_is_due(status.st_size, age_s, window_s, takes=takes, at_once=self._asked or not own)

    def _make(self, made: batch.Batch, *, own: bool) -> None:
        written = batch.write(
            made,
            bursts=self._settings.limits.bursts,
            hardware=self._hardware if own else {},
        )
        committed = batch.commit(made)
        self._state.damaged += written.damaged
        batch.discard(made.host, committed, self._clock.time_ns())
        log.info("batch %s: %d bodies, %d damaged", made.name, written.bodies, written.damaged)

    # Housekeeping

    def _keep_caps(self) -> None:
        now = self._clock.monotonic()
        if now >= self._retention_at:
            self._retention_at = now + RETENTION_S
            dropped = retention.enforce(self.home, self._settings.limits, self._file_system_now())
            if dropped:
                log.warning("%d events dropped: a cap of size or age was reached", dropped)

    def _beat(self) -> None:
        now = self._clock.monotonic()
        if self.mode is Mode.SERVICE and self._courier.failing_since is None and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_S
            files.replace_bytes(self.home.heartbeat(self.host.name), b'{"pid": %d}\n' % os.getpid())

    def _file_system_now(self) -> float:
        return files.now(self.host.state)

    def _save(self) -> None:
        try:
            self._state.save(self.host)
        except (OSError, TelemetryError) as error:
            log.warning("cannot write %s: %s", self.host.state, error)


def _has_bodies(host: HostPaths) -> bool:
    return any(has_bodies(directory) for directory in segments.listing(host.outbox))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
