"""The loop: what a sidecar does at every look, put together from the other rooms.

    consent? ─▶ flush? ─▶ unfinished batches ─▶ seal ─▶ take, write, commit ─▶ deliver ─▶ caps

Every decision is a function of the clock and of the directory; what is kept in memory (waits, failures)
may be lost at any moment without harm. Telemetry switched off ends the life of a sidecar before its
next request or file; if it was the user who did so, what was not sent is deleted.

This room must never read the environment: a sidecar judges by the files alone.
"""

from __future__ import annotations

import enum
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from flwr_telemetry import files, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.version import __version__
from flwr_telemetry.waiting import has_bodies

from . import batch, burst, delivery, forgotten, hardware, outbox, purge, retention, segments
from .clock import Clock
from .errors import LetGoError
from .sinks.base import Delivered, Refused, Retry, Sink
from .state import State

log = logging.getLogger("flwr_telemetryd")

POLL_S = 0.25
HEARTBEAT_S = 30.0
RETENTION_S = 60.0
FOREIGN_WORK_S = 600.0
SERVICE_ADOPT_S = 30.0
ON_DEMAND_ADOPT_S = 120.0


class Mode(enum.Enum):
    """How long a sidecar lives."""

    ON_DEMAND = "on demand"
    SERVICE = "service"
    ONCE = "once"


class End(enum.Enum):
    """Why a sidecar ends."""

    IDLE = "nothing was left to do"
    DRAINED = "everything is delivered"
    OFFLINE = "the collector could not be reached for too long"
    UNDELIVERED = "not everything could be delivered now"
    DISABLED = "telemetry is off"


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
        self._open_sink = open_sink
        self._site_file = site_file
        self._sink: Sink | None = None
        self._sink_key: tuple[object, ...] = ()
        self._settings_key: tuple[object, ...] | None = None
        self._settings: settings.Settings
        self._hardware = hardware.figures()
        self._state = State.load(self.host)
        self._asked = mode is Mode.ONCE
        self._failures = 0
        self._failing_since: float | None = None
        self._next_try = 0.0
        self._last_failed: Path | None = None
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
        if self._sink is not None:
            self._sink.close()
            self._sink = None
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
            self._failed(str(error), None)
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
        return bool(
            segments.sealed_segments(host)
            or segments.listing(host.work)
            or _has_bodies(host)
        )

    def _reason_to_end(self) -> End | None:
        now = self._clock.monotonic()
        waits = self.anything_waits()
        if waits:
            self._busy_at = now
        if self.mode is Mode.ONCE:
            if not waits:
                return End.DRAINED
            return End.UNDELIVERED if self._failing_since is not None or not self._may_try() else None
        if self.mode is Mode.SERVICE:
            return None
        limits = self._settings.limits
        if not waits and now - self._busy_at >= limits.idle_exit_s:
            return End.IDLE
        if self._failing_since is not None and now - self._failing_since >= limits.offline_exit_s:
            return End.OFFLINE
        return None

    # Consent

    def _may_go_on(self) -> bool:
        """Consent by the files, read again when one of them changed."""
        key = settings.signature(self.home, self._site_file)
        if key != self._settings_key:
            self._settings = settings.load(self.home, None, site_file=self._site_file)
            self._settings_key = key
            self._renew_sink()
        consent = self._settings.consent
        if consent.enabled:
            return True
        purge.if_asked(self.home, consent)
        return False

    def _renew_sink(self) -> None:
        now = self._settings
        key = (now.url, now.proxy, now.ca_bundle, now.limits)
        if key != self._sink_key and now.consent.enabled:
            if self._sink is not None:
                self._sink.close()
            self._sink, self._sink_key = self._open_sink(now), key

    # Batches

    def _served(self) -> Iterable[HostPaths]:
        """This host, and others of this home whose spool has not grown for a while."""
        yield self.host
        default = SERVICE_ADOPT_S if self.mode is Mode.SERVICE else ON_DEMAND_ADOPT_S
        after_s = self._settings.limits.adopt_after_s
        for host in retention.hosts(self.home):
            if host.name != self.host.name and host.spool.is_dir():
                touched = max(_modified(host.events), _modified(host.spool))
                if self._file_system_now() - touched >= (default if after_s is None else after_s):
                    yield host

    def _serve(self, host: HostPaths) -> None:
        own = host.name == self.host.name
        if own and self._obey_flush():
            self._asked = True
            self._next_try = 0.0
        # While deliveries fail no new batch is taken: an outage ends in a few well-coalesced uploads.
        takes = self._asked or self._failing_since is None or not _has_bodies(host)
        since = None if own else self._file_system_now() - FOREIGN_WORK_S
        for unfinished in batch.take_over(host, self.owner, untouched_since=since):
            self._make(unfinished, own=own)
        if self._is_seal_due(host, own=own, takes=takes):
            segments.seal(host, self._clock.time_ns())
        while takes and (taken := batch.take(host, self.owner, self._clock.time_ns())) is not None:
            self._make(taken, own=own)
        if self._may_try():
            self._deliver(host)
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
        if status.st_size == 0:
            return False
        if status.st_size >= segments.SEAL_SIZE_BYTES:
            return True
        if not takes:
            return False
        if self._asked or not own:
            return True
        now = self._clock.monotonic()
        if self._first_seen is None or self._first_seen[0] != status.st_ino:
            self._first_seen = (status.st_ino, now)
        return now - self._first_seen[1] >= self._settings.limits.burst_window_s

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

    # Delivery

    def _may_try(self) -> bool:
        if self._clock.monotonic() < self._next_try:
            return False
        return delivery_not_before(self.host, self._file_system_now) <= 0

    def _deliver(self, host: HostPaths) -> None:
        bodies = list(outbox.due(host, self._clock.time_ns()))
        # The body that failed last comes last: one that a broken collector chokes on must not block the rest.
        bodies.sort(key=lambda body: body.path == self._last_failed)
        for body in bodies:
            if not self._may_go_on() or not self._send(body):
                return

    def _send(self, body: outbox.Body) -> bool:
        """Send one body; whether to go on with the next."""
        try:
            data = body.read()
        except FileNotFoundError:
            return True  # somebody else's success
        if forgotten.holds(self.home, data):
            outbox.let_go(body)
            return True
        if self._sink is None:
            return False
        outcome = self._sink.send(body.key, data)
        self._state.requests += 1
        if isinstance(outcome, Retry):
            self._state.retried += 1
            self._last_failed = body.path
            self._failed(outcome.reason, outcome.after_s)
            return False
        self._succeeded()
        if isinstance(outcome, Delivered):
            self._state.delivered_events += burst.count(outbox.decoded(data))
            self._state.last_delivery = self._clock.now().isoformat()
            outbox.delivered(body, data, self._clock.now())
            return True
        return self._refused(body, data, outcome)

    def _refused(self, body: outbox.Body, data: bytes, outcome: Refused) -> bool:
        """A plain body is rejected; a burst is split, and its first event tells for all of them."""
        if "burst" not in outbox.decoded(data):
            self._reject(body, outcome.reason)
            return True
        log.info("burst %s refused (%s): splitting it", body.key, outcome.reason)
        members = outbox.split(body)
        if not members:
            return True
        before = self._state.rejected
        go_on = self._send(members[0])
        if self._state.rejected > before:
            for member in members[1:]:
                self._reject(member, f"{outcome.reason} (with the first event of its burst)")
            return True
        for member in members[1:]:
            if not go_on or not self._may_go_on():
                return False
            go_on = self._send(member)
        return go_on

    def _reject(self, body: outbox.Body, reason: str) -> None:
        log.warning("body %s rejected: %s", body.key, reason)
        outbox.rejected(body, reason)
        self._state.rejected += 1

    def _succeeded(self) -> None:
        self._failures, self._failing_since, self._next_try, self._last_failed = 0, None, 0.0, None
        self._state.next_try = self._state.last_error = ""
        self.host.not_before.unlink(missing_ok=True)

    def _failed(self, reason: str, after_s: float | None) -> None:
        now, limits = self._clock.monotonic(), self._settings.limits
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = now
        wait_s = delivery.backoff_s(
            self._failures, limits.backoff_s, limits.backoff_max_s, self._clock.random()
        )
        if after_s is not None:
            files.replace_bytes(self.host.not_before, f"{after_s}\n".encode())
            wait_s = max(wait_s, after_s)
        self._next_try = now + wait_s
        self._state.last_error = reason
        self._state.next_try = (self._clock.now() + timedelta(seconds=wait_s)).isoformat()
        log.warning("not delivered: %s; next try in %.1f s", reason, wait_s)

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
        if self.mode is Mode.SERVICE and self._failing_since is None and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_S
            files.replace_bytes(self.home.heartbeat(self.host.name), b'{"pid": %d}\n' % os.getpid())

    def _file_system_now(self) -> float:
        files.touch(self.host.state)
        return _modified(self.host.state)

    def _save(self) -> None:
        try:
            self._state.save(self.host)
        except (OSError, TelemetryError) as error:
            log.warning("cannot write %s: %s", self.host.state, error)


def delivery_not_before(host: HostPaths, file_system_now: Callable[[], float]) -> float:
    """Seconds that a ``Retry-After`` still asks for; 0 or less if it is over or there is none."""
    try:
        asked_s = float(host.not_before.read_text())
        written = host.not_before.stat().st_mtime
    except (OSError, ValueError):
        return 0.0
    asked_s = min(asked_s, delivery.MAX_RETRY_AFTER_S)
    # A clock that was set back must not lengthen the wait.
    return min(asked_s, asked_s - (file_system_now() - written))


def _has_bodies(host: HostPaths) -> bool:
    return any(has_bodies(directory) for directory in segments.listing(host.outbox))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
