"""The courier: sends the bodies of an outbox, one after the other, and remembers failures.

What an answer means is ``delivery.py``'s to say, what becomes of the file is ``outbox.py``'s. Everything
that is remembered here (waits, what failed last, which bodies came from one burst) may be lost at any
moment without harm. Consent is asked for before every request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import Settings

from . import burst, delivery, forgotten, not_before, outbox
from .clock import Clock
from .sinks.base import Delivered, Refused, Retry, Sink
from .state import State

log = logging.getLogger("flwr_telemetryd")


class Courier:
    """One life's way out.

    Args:
        home: whose ``forgotten`` file is obeyed.
        host: the sidecar's own host, where a ``Retry-After`` is kept.
        state: where counters and last facts are noted.
        clock: time and chance.
        open_sink: makes the way out from the settings.
        may_go_on: consent, as it is now.

    Attributes:
        failing_since: monotonic seconds of the first failure since the last success; None without one.
    """

    def __init__(
        self,
        home: Home,
        host: HostPaths,
        *,
        state: State,
        clock: Clock,
        open_sink: Callable[[Settings], Sink],
        may_go_on: Callable[[], bool],
    ) -> None:
        self._home = home
        self._host = host
        self._state = state
        self._clock = clock
        self._open_sink = open_sink
        self._may_go_on = may_go_on
        self._settings: Settings
        self._sink: Sink | None = None
        self._sink_key: tuple[object, ...] = ()
        self._failures = 0
        self._next_try = 0.0
        self._last_failed: Path | None = None
        self._siblings: dict[str, list[outbox.Body]] = {}
        self.failing_since: float | None = None

    def use(self, settings: Settings) -> None:
        """Send as these settings say from now on."""
        self._settings = settings
        key = (settings.url, settings.proxy, settings.ca_bundle, settings.limits)
        if key != self._sink_key:
            self.close()
            self._sink_key = key

    def close(self) -> None:
        """Let go of connections."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def skip_backoff(self) -> None:
        """Try at once, whatever failed before; a ``Retry-After`` is not skipped."""
        self._next_try = 0.0

    def may_try(self) -> bool:
        """Whether neither a backoff nor a ``Retry-After`` is to be waited for."""
        if self._clock.monotonic() < self._next_try:
            return False
        return not_before.remaining_s(self._host, lambda: files.now(self._host.state)) <= 0

    def deliver(self, host: HostPaths) -> None:
        """Send what is in the outbox of ``host``, until one body has to wait."""
        self._state.damaged += outbox.put_right(host, self._clock.time_ns())
        bodies = list(outbox.due(host))
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
        if not outbox.decoded(data):
            log.warning("%s is no body: it is set aside in %s", body.path, body.host.damaged)
            outbox.set_aside(body.host, body.path)
            self._state.damaged += 1
            return True
        if forgotten.holds(self._home, data):
            outbox.let_go(body)
            return True
        if self._sink is None:
            self._sink = self._open_sink(self._settings)
        outcome = self._sink.send(body.key, data)
        self._state.requests += 1
        if isinstance(outcome, Retry):
            self._state.retried += 1
            self._last_failed = body.path
            self.failed(outcome.reason, outcome.after_s)
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
            for sibling in self._siblings.pop(body.key, []):
                self._reject(sibling, f"{outcome.reason} (the first event of its burst)")
            return True
        log.info("burst %s refused (%s): splitting it", body.key, outcome.reason)
        members = outbox.split(body)
        if members is None:
            self._state.damaged += 1
            return True
        if members:
            self._siblings[members[0].key] = members[1:]
        return all(self._may_go_on() and self._send(member) for member in members)

    def _reject(self, body: outbox.Body, reason: str) -> None:
        log.warning("body %s rejected: %s", body.key, reason)
        outbox.rejected(body, reason)
        self._state.rejected += 1

    def _succeeded(self) -> None:
        self._failures, self.failing_since, self._next_try, self._last_failed = 0, None, 0.0, None
        self._state.next_try = self._state.last_error = ""
        not_before.forget(self._host)

    def failed(self, reason: str, after_s: float | None = None) -> None:
        """Note a failure and wait, as long as was asked or as backoff says."""
        now, limits = self._clock.monotonic(), self._settings.limits
        self._failures += 1
        if self.failing_since is None:
            self.failing_since = now
        wait_s = delivery.backoff_s(
            self._failures, limits.backoff_s, limits.backoff_max_s, self._clock.random()
        )
        if after_s is not None:
            not_before.keep(self._host, after_s)
            wait_s = max(wait_s, after_s)
        self._next_try = now + wait_s
        self._state.last_error = reason
        self._state.next_try = (self._clock.now() + timedelta(seconds=wait_s)).isoformat()
        log.warning("not delivered: %s; next try in %.1f s", reason, wait_s)
