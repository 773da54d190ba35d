"""The loop: what a sidecar does at every look, put together from the other rooms.

    consent? ─▶ flush? ─▶ unfinished batches ─▶ seal ─▶ take, write, commit ─▶ adopt ─▶ deliver ─▶ caps

Every decision is a function of the clock and of the directory; what is kept in memory (waits, failures)
may be lost at any moment without harm. Telemetry switched off ends the life of a sidecar before its
next request or file; if it was the user who did so, what was not sent is deleted.

This room must never read the environment: a sidecar judges by the files alone.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from flwr_telemetry import files, presence, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.version import __version__

from . import guard, hardware, segments
from .adoption import Adoption
from .backoff import Troubles
from .clock import Clock
from .courier import Courier
from .decisions import LONGEST_NAP_S, POLL_S, End, Mode, doze, gone_after_s, nap
from .ending import Ending
from .housekeeping import Housekeeping, sweep_drafts
from .locks import HostLock
from .manager import Manager
from .packing import Packer
from .permission import Permission
from .rest import Rest
from .retention import hosts
from .serving import bodies_wait, is_waiting, more_waits
from .sinks.base import Sink
from .state import State

log = logging.getLogger("flwr_telemetryd")


class Sidecar:
    """One life of a sidecar.

    Args:
        home: whose events it delivers.
        mode: how long it lives.
        open_sink: makes the way out from the settings.
        lock: what came of asking for the host's lock; None for a caller that has no other beside it.
        clock: time and chance.
        site_file: the site's settings.
        manager: told how it goes.
        reload_asked: whether somebody asked for a fresh look at settings and collector since the last call.
    """

    def __init__(
        self,
        home: Home,
        mode: Mode,
        open_sink: Callable[[settings.Settings], Sink],
        *,
        lock: HostLock | None = None,
        clock: Clock | None = None,
        site_file: Path = settings.SITE_FILE,
        manager: Manager | None = None,
        reload_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.home = home
        self.host = home.host()
        self.mode = mode
        self._lock = lock
        self._clock = clock or Clock()
        self._manager = manager or Manager()
        self._reload_asked = reload_asked
        self._may_go_on = Permission(home, site_file, self._use, self._breathe)
        self._state = State.load(self.host)
        self._troubles = Troubles(self._clock, self._state, lambda: self._may_go_on.settings.limits)
        self._packer = Packer(
            self.host,
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
        self._patience = self._courier.patience
        self._adoption = Adoption(
            home,
            mode,
            clock=self._clock,
            packer=self._packer,
            troubles=self._troubles,
            file_system_now=self._file_system_now,
            may_go_on=self._may_go_on,
            put_right=self._courier.put_right,
        )
        self._asked = mode is Mode.ONCE
        self._ending = Ending(
            self.host,
            mode,
            clock=self._clock,
            state=self._state,
            packer=self._packer,
            patience=self._patience,
            troubles=self._troubles,
        )
        self._housekeeping = Housekeeping(home, self.host, self._clock, self._file_system_now)
        self._rest = Rest(home, self._clock, self._is_woken, None if mode is Mode.SERVICE else self.host)
        self._has_looked = self._works = self._tries_last = False
        self._drafts_may_lie = self._is_sole = lock is None or lock.is_exclusive

    # A life

    def run(self) -> End:
        """Look until there is a reason to end."""
        self._state.pid, self._state.mode, self._state.version = os.getpid(), self.mode.value, __version__
        self._state.born = presence.birth(os.getpid())
        self._state.started, self._state.ended = self._clock.now().isoformat(), ""
        if self._may_go_on():
            self._save()  # whoever wants to take our place has to know us
            self._manager.ready()
        end: End | None = None
        while end is None:
            try:
                self._rest.note()
                end = self.look()
                if end is None:
                    self._sleep()
            except OSError as error:
                if self.mode is not Mode.SERVICE:
                    raise
                # A server of files that is away for a while ends no service.
                log.warning("the home cannot be looked at: %s", error)
                self._manager.feed()
                self._clock.sleep(LONGEST_NAP_S)
        # Off means off, and what was removed stays so: not even a word about it is written.
        silent = end in {End.DISABLED, End.REMOVED}
        if not silent:
            log.info("ending: %s", end.value)
        self.close("" if silent else end.value)
        return end

    def close(self, why: str) -> None:
        """Let go of the way out, and leave word why this life ended, if there is one to leave."""
        self._manager.stopping()
        self._courier.close()
        if why and self._may_go_on() and self.host.root.is_dir():
            self._state.ended = f"{self._clock.now().isoformat()} {why}"
            self._save()
        if self.mode is Mode.SERVICE:
            self.home.heartbeat(self.host.name).unlink(missing_ok=True)

    def look(self) -> End | None:
        """Everything that is to be done now; why to end, or None.

        Raises:
            SpoolUnsafeError: the directory is no longer surely ours.
        """
        try:
            return self._look()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Another host of a network file system removed what was looked at: the next look tells how it is.
            log.info("moved away during a look: %s", error)
            return None

    def _look(self) -> End | None:
        self._obey_reload()
        if not self._may_go_on():
            return End.DISABLED
        if self._lock is not None and not self._lock.is_linked():
            return End.REMOVED  # without the host's own lock this life would be another one's double
        guard.check_root(self.host)
        if self._drafts_may_lie:
            self._drafts_may_lie = False
            sweep_drafts(self.host)
        self._troubles.new_look()
        self._keep_caps()
        self._troubles.attempt("host", self._serve, None)
        self._has_looked = True
        if not self._may_go_on():  # a request may have taken long
            return End.DISABLED
        self._keep_caps()
        gone_s = gone_after_s(self.mode, self._may_go_on.settings.limits)
        self._troubles.attempt("gone", lambda: self._housekeeping.remove_gone(self._state, gone_s), None)
        if not self._may_go_on():
            return End.DISABLED
        self._save()
        end = self._ending.reason(self._may_go_on.settings.limits)
        if end is End.OFFLINE and not self._tries_last:
            # The collector may be back since the last try, and the next event is days away, perhaps.
            self._tries_last = True
            self._patience.skip()
            return None
        self._tries_last = False
        return end

    def _serve(self) -> None:
        guard.check(self.host)
        if self._troubles.attempt("flush", self._obey_flush, otherwise=False):
            self._deliver_now()
        limits = self._may_go_on.settings.limits
        self._courier.put_right(self.host)
        # While deliveries fail no new batch is taken: an outage ends in a few well-coalesced uploads.
        may_try = self._patience.wait_s() <= 0
        self._works = self._patience.failing_since is None and self._patience.barred_s() <= 0
        is_empty = not bodies_wait(self.host)
        takes = self._asked or ((self._works or is_empty) and self._patience.rest_left_s() <= 0)
        if segments.listing(self.host.work):
            # Only a lock of our own says that all others are dead; else a batch must have been left alone.
            self._packer.finish(self.host, limits, None if self._is_sole else self._file_system_now())
        self._packer.pack(limits, takes=takes, at_once=self._asked)
        # Two services that cannot deliver must not hand each other's batches to and fro.
        if self._asked or self._works or (may_try and is_empty):
            self._adoption.look(limits)
        if self._patience.wait_s() <= 0:
            deliver = functools.partial(self._courier.deliver, hurries=self._asked)
            self._troubles.attempt("delivery", deliver, None)
            self._works = self._patience.failing_since is None
        if self.mode is not Mode.ONCE:
            self._asked = False

    def _keep_caps(self) -> None:
        limits = self._may_go_on.settings.limits
        keep = functools.partial(self._housekeeping.keep_caps, limits, self._packer.sealed)
        self._troubles.attempt("caps", keep, None)

    # Between two looks

    def _sleep(self) -> None:
        if self.mode is Mode.ONCE:
            self._clock.sleep(POLL_S)
            return
        limits = self._may_go_on.settings.limits
        waits, barred_s = self._ending.waits, max(self._ending.barred_s, self._patience.rest_left_s())
        if self.mode is Mode.ON_DEMAND:
            more = functools.partial(more_waits, self.host)
            if barred_s <= 0 and not self._troubles.attempt("look", more, otherwise=True):
                barred_s = self._packer.window_s(limits)
            ends_in_s = self._ending.in_s(limits)
            self._rest.sleep(*doze(limits, waits=waits, barred_s=barred_s, ends_in_s=ends_in_s))
            return
        others = (host for host in hosts(self.home) if host.name != self.host.name)
        chosen = nap(
            limits,
            waits=waits,
            barred_s=barred_s,
            calm_s=self._rest.calm_s(),
            others_wait=any(map(is_waiting, others)),
        )
        self._rest.sleep(*chosen)

    def _is_woken(self) -> bool:
        """Whether there is a reason to look, other than what the files of the home tell."""
        self._obey_reload()
        return self._asked or not self._may_go_on()

    def _breathe(self) -> None:
        """Signs of life, at every step: a long backlog and a long sleep are none of death."""
        self._manager.feed()
        if self.mode is Mode.SERVICE and self._can_deliver():
            self._troubles.attempt("heartbeat", self._housekeeping.beat, None)

    def _can_deliver(self) -> bool:
        """Whether others may count on us; a service that cannot must not silence a home.

        It is known once it was tried, if there is anything to try it with.
        """
        tried = self._has_looked or self._courier.was_answered
        return tried and self._works and self._patience.failing_since is None and not self._troubles.grave()

    # What others ask for

    def _obey_flush(self) -> bool:
        """Whether somebody asked for delivery now; asking again later counts anew."""
        if not self.host.flush.exists():
            return False
        # Not by what the removal says: NFS may tell of a request that it sent twice that there was nothing.
        self.host.flush.unlink(missing_ok=True)
        return True

    def _obey_reload(self) -> None:
        if self._reload_asked():
            self._manager.reloading()
            self._may_go_on.forget()
            if self._may_go_on():
                self._deliver_now()
                log.info("settings read again")
            self._manager.ready()

    def _deliver_now(self) -> None:
        self._asked = True
        self._patience.skip()
        self._troubles.skip()

    def _use(self, known: settings.Settings) -> None:
        self._courier.use(known)
        self._manager.allow(known.limits.request_deadline_s)

    # Small things

    def _file_system_now(self) -> float:
        return files.now(self.host.state)

    def _save(self) -> None:
        self._manager.status(self._state.in_words())
        try:
            self._state.save(self.host)
        except (OSError, TelemetryError) as error:
            log.warning("cannot write %s: %s", self.host.state, error)
