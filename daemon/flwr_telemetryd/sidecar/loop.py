"""The loop: one pass after the other, until there is a reason to end.

    consent? ─▶ flush? ─▶ unfinished batches ─▶ seal ─▶ take, write, commit ─▶ adopt ─▶ deliver ─▶ caps

Every decision is a function of the clock and of the directory. The memory of the sidecar (waits, failures)
may be lost at any moment without harm. After an opt-out the sidecar ends before its next request or write. If
the user opted out, the unsent events are deleted.

This module never reads the environment, because only the settings files decide.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from flwr_telemetry import mounts, presence, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetry.machine import own_host
from flwr_telemetry.version import __version__

from ..clock import Clock
from ..delivery.faults import LocalFaults
from ..delivery.outcome import Sink
from ..delivery.uploader import Uploader
from ..outbox.backlog import bodies_wait, is_waiting, more_waits
from ..outbox.purge import remove_temporary_files
from ..outbox.queue import Queue
from ..runtime import Mode, Runtime
from ..spool.directory import check_ownership, check_root, known_hosts, listing, turn_at
from ..spool.locks import HostLock
from ..state import State
from .adoption import Adoption
from .batcher import Batcher
from .consent import ConsentGate
from .housekeeping import Housekeeping
from .lifetime import ExitPolicy, is_installed
from .schedule import LONGEST_WAIT_S, POLL_S, ExitReason, on_demand_wait, service_wait
from .sd_notify import ServiceManager
from .waiting import IdleWait

log = logging.getLogger("flwr_telemetryd")

CLAIM_S = 0.1
"""Where nothing is locked, a sidecar waits at least so long after its claim, in seconds. Then it checks if
another one has replaced it."""

_SILENT = {ExitReason.DISABLED, ExitReason.REMOVED, ExitReason.LOST}


class Sidecar:
    """One run of a sidecar.

    Args:
        home: the home whose events it delivers.
        mode: when it ends.
        open_sink: makes the sink that the settings name.
        lock: the host's lock, or the attempt where locks do not work; None if no other sidecar can run.
        clock: time and chance.
        site_file: the site's settings.
        manager: the service manager that started it.
        reload_asked: returns whether SIGHUP came since the last call.
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
        manager: ServiceManager | None = None,
        reload_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        clock, self.host = clock or Clock(), lock.host if lock else own_host(home)
        self._lock = lock
        self._manager = manager or ServiceManager({})
        self._reload_asked = reload_asked
        self._checkpoint = gate = ConsentGate(home, site_file, self._keepalive)
        self._state = State.load(self.host)
        self._faults = LocalFaults(clock, self._state, lambda: gate.settings.limits)
        self._runtime = runtime = Runtime(
            home=home,
            host=self.host,
            mode=mode,
            clock=clock,
            state=self._state,
            faults=self._faults,
            checkpoint=gate,
            settings=lambda: gate.settings,
            owner=os.urandom(8).hex(),
            is_shared=mounts.is_shared(home.path),
        )
        self._queue = Queue(runtime)
        self._uploader = Uploader(runtime, self._queue, open_sink)
        self._retry_policy = self._uploader.retry_policy
        self._batcher = Batcher(runtime)
        self._adoption = Adoption(runtime, self._queue, self._batcher)
        self._exit_policy = ExitPolicy(runtime, self._batcher, self._retry_policy)
        self._housekeeping = Housekeeping(runtime, self._batcher)
        self._idle_wait = IdleWait(runtime, self._is_woken, (site_file, home.config))
        self._flush_requested = mode is Mode.ONCE
        self._has_passed = self._works = self._tries_last = self._drains = self._is_lost = False
        self._is_exclusive = lock is None or lock.is_exclusive

    # One run

    def run(self) -> ExitReason:
        """Make passes until there is a reason to end; the reason."""
        state, clock = self._state, self._runtime.clock
        state.pid, state.mode, state.version = os.getpid(), self._runtime.mode.value, __version__
        state.born = presence.birth(os.getpid())
        state.started, state.ended = clock.now().isoformat(), ""
        reason: ExitReason | None = None
        if self._checkpoint():
            self._save()  # another sidecar needs the process ID to ask this one to end
            if self._lock is not None and self._lock.result is LockResult.UNSUPPORTED:
                clock.sleep(CLAIM_S * (1 + clock.random()))  # another one may have started at the same moment
                reason = ExitReason.LOST if self._lock.is_lost() else None
            if reason is None and self._is_exclusive:
                remove_temporary_files(self.host)
            self._manager.ready()
        while reason is None:
            try:
                self._idle_wait.snapshot()
                reason = self.run_pass()
                if reason is None:
                    self._sleep()
            except OSError as error:
                if self._runtime.mode is not Mode.SERVICE:
                    raise
                # A service survives a file server that is down for a while.
                log.warning("cannot read the home: %s", error)
                self._manager.watchdog()
                clock.sleep(LONGEST_WAIT_S)
        if reason is ExitReason.LOST:
            log.info("ending: %s", reason.value)
        # After an opt-out, a removal or the loss of the host the state file is left alone.
        self.close("" if reason in _SILENT else reason.value)
        return reason

    def drain(self) -> None:
        """Seal and deliver once more before the end, also the events of other hosts.

        The signal to end may have interrupted this run at any place. A caller limits the time.
        """
        log.info("terminating: delivering what is there")
        self._uploader.close()  # the answer to an interrupted request may still come on its connection
        self._drains = True
        self._deliver_now()
        try:
            self.run_pass()
        except (OSError, TelemetryError) as error:
            log.warning("cannot deliver before the end: %s", error)

    def close(self, reason: str) -> None:
        """Close the connections, and write the reason for the end of this run, unless it is empty."""
        self._manager.stopping()
        self._idle_wait.close()
        self._uploader.close()
        if reason and self._checkpoint() and self.host.root.is_dir():
            log.info("ending: %s", reason)
            self._state.ended = f"{self._runtime.clock.now().isoformat()} {reason}"
            self._save()
        if self._runtime.mode is Mode.SERVICE:
            self._runtime.home.heartbeat(self.host.name).unlink(missing_ok=True)

    def run_pass(self) -> ExitReason | None:
        """Do everything that is due now; the reason to end, or None.

        Raises:
            SpoolUnsafeError: another user can write to the directory, or it is a link now.
        """
        try:
            return self._pass()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            # Another host of a network file system deleted or renamed a file. The next pass sees the result.
            log.info("a file was deleted or renamed during a pass: %s", error)
            return None

    def _pass(self) -> ExitReason | None:
        self._obey_reload()
        if not self._checkpoint():
            return ExitReason.DISABLED
        if self._lock is not None and not self._lock.is_linked():
            return ExitReason.REMOVED  # without the lock's file, another sidecar may run on this host
        if not is_installed():
            return ExitReason.UNINSTALLED
        check_root(self.host)
        self._faults.end_pass()
        caps = ("caps", self._housekeeping.keep_caps)
        for name, step in (caps, ("host", self._serve), caps, ("gone", self._housekeeping.prune)):
            self._faults.run(name, step, None)
            if not self._checkpoint():  # a request may have taken long
                return ExitReason.DISABLED
        self._save()
        if self._is_lost:
            return ExitReason.LOST
        reason = self._exit_policy.reason()
        if reason is ExitReason.OFFLINE and not self._tries_last:
            # One more try, because the collector may be back, and the next event may come days later.
            self._tries_last = True
            self._retry_policy.reset()
            return None
        self._tries_last = False
        return reason

    def _serve(self) -> None:
        check_ownership(self.host)
        self._faults.run("flush", self._obey_flush, None)
        self._queue.repair(self.host)
        policy, flush = self._retry_policy, self._flush_requested
        may_try = policy.wait_s() <= 0
        self._works = not policy.is_failing and policy.blocked_s() <= 0
        is_empty = not bodies_wait(self.host)
        # While deliveries fail, no new batch is made: later events then coalesce into a few large bodies.
        may_batch = flush or ((self._works or is_empty) and policy.spread_left_s() <= 0)
        if listing(self.host.work):
            # Only this host's lock proves that all other owners are dead. Without it the batch must be old.
            self._batcher.resume(self.host, None if self._is_exclusive else self._runtime.file_system_now())
        self._batcher.run(may_batch=may_batch, immediately=flush)
        # Two services that cannot deliver must not adopt each other's batches again and again.
        if flush or self._works or (may_try and is_empty):
            self._adoption.run(at_once=self._drains and self._is_exclusive)
        if policy.wait_s() <= 0:
            self._faults.run("delivery", self._uploader.deliver, None, flush_requested=flush)
            self._works = not policy.is_failing
        self._flush_requested = self._runtime.mode is Mode.ONCE
        self._has_passed = True

    # Between two passes

    def _sleep(self) -> None:
        mode, limits, waits = self._runtime.mode, self._runtime.limits, self._exit_policy.waits
        blocked_s = max(self._exit_policy.blocked_s, self._retry_policy.spread_left_s())
        if mode is Mode.ONCE:
            self._runtime.clock.sleep(POLL_S)
            return
        if blocked_s <= 0 and not self._faults.run("backlog", more_waits, True, self.host):
            blocked_s = self._batcher.window_s()
        others_wait = False
        if mode is Mode.SERVICE or not waits:  # a busy sidecar on demand searches for them twice a minute
            others = (host for host in known_hosts(self._runtime.home) if host.name != self.host.name)
            others_wait = any(map(is_waiting, others))
        if mode is Mode.ON_DEMAND:
            ends_in_s = self._exit_policy.in_s()
            wait = on_demand_wait(
                limits, waits=waits, blocked_s=blocked_s, ends_in_s=ends_in_s, others_wait=others_wait
            )
        else:
            quiet_s = self._idle_wait.quiet_s()
            wait = service_wait(
                limits, waits=waits, blocked_s=blocked_s, quiet_s=quiet_s, others_wait=others_wait
            )
        self._idle_wait.sleep(*wait, until_event=not (waits or others_wait))

    def _is_woken(self) -> bool:
        """Whether SIGHUP, an opt-out or another program is a reason for a pass."""
        self._obey_reload()
        return self._flush_requested or not self._checkpoint() or not is_installed()

    def _keepalive(self) -> None:
        """Feed the watchdog and the heartbeat, also during long uploads and sleeps."""
        self._manager.extend_watchdog(self._runtime.limits.request_deadline_s)
        self._manager.watchdog()
        if self._runtime.mode is Mode.SERVICE and self._can_deliver():
            self._faults.run("heartbeat", self._housekeeping.write_heartbeat, None)

    def _can_deliver(self) -> bool:
        """Whether other hosts may rely on this service, because it delivered or has nothing to deliver."""
        has_tried = self._has_passed or self._uploader.was_answered
        works = self._works and not self._retry_policy.is_failing and not self._faults.blocks_delivery()
        return has_tried and works

    # Requests of others

    def _obey_flush(self) -> None:
        """Delete a request for delivery, so that a later one counts again, and obey it."""
        with turn_at(self.host):
            if not self.host.flush.exists():
                return
            # NFS may repeat the call and report a missing file, so the result does not count.
            self.host.flush.unlink(missing_ok=True)
        self._deliver_now()

    def _obey_reload(self) -> None:
        if self._reload_asked():
            self._manager.reloading()
            self._checkpoint.invalidate()
            if self._checkpoint():
                self._deliver_now()
                log.info("settings read again")
            self._manager.ready()

    def _deliver_now(self) -> None:
        self._flush_requested = True
        self._retry_policy.reset()
        self._faults.reset()

    def _save(self) -> None:
        self._manager.status(self._state.summary())
        # The file is the claim to this host where nothing is locked: one that another sidecar made stays.
        if self._lock is not None and self._state.has_changed() and self._lock.is_lost():
            self._is_lost = True
            return
        try:
            self._state.save(self.host)
        except (OSError, TelemetryError) as error:
            log.warning("cannot write %s: %s", self.host.state, error)
