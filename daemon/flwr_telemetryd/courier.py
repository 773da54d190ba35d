"""The courier: sends the bodies of an outbox, one after the other, and remembers failures.

What an answer means is ``delivery.py``'s to say, what becomes of the file is ``outbox.py``'s. Everything
that is remembered here (waits, what failed last, which bodies came from one burst) may be lost at any
moment without harm. Consent is asked for before every request.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import Settings

from . import archive, burst, damage, forgotten, outbox, segments
from .backoff import Troubles
from .body import Body, intact
from .clock import Clock
from .patience import Patience
from .sinks.base import Delivered, Refused, Retry, Sink
from .split import Split, split
from .state import State

log = logging.getLogger("flwr_telemetryd")


class Courier:
    """One life's way out.

    Args:
        home: whose ``forgotten`` file is obeyed.
        host: the sidecar's own, whose outbox is delivered and where a ``Retry-After`` is kept.
        state: where counters and last facts are noted.
        clock: time and chance.
        open_sink: makes the way out from the settings.
        may_go_on: consent, as it is now.
        troubles: tries again what this machine is in the way of.
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
        troubles: Troubles,
    ) -> None:
        self._home = home
        self._host = host
        self._hurries = False
        self._state = state
        self._clock = clock
        self._open_sink = open_sink
        self._may_go_on = may_go_on
        self._troubles = troubles
        self._settings: Settings
        self._sink: Sink | None = None
        self._sink_key: tuple[object, ...] = ()
        fails = bool(state.next_try)
        self.patience = Patience(host, clock, lambda: self._settings.limits, fails=fails)
        self._last_failed: Path | None = None
        self._undecided: dict[Path, Split] = {}
        self._accepted: dict[Path, bool] = {}
        self.was_answered = False
        """Whether any request of this life was."""

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

    def put_right(self, host: HostPaths) -> None:
        """Finish what a death left half done in the outbox of ``host``; nothing of it is sent before that."""
        for directory in segments.listing(host.outbox):
            put_right = functools.partial(outbox.put_right, host, directory, self._clock.time_ns())
            self._state.damaged += self._troubles.attempt(f"outbox/{directory.name}", put_right, 0)

    def deliver(self, *, hurries: bool) -> None:
        """Send what is in this host's outbox, until one body has to wait.

        Args:
            hurries: somebody asked for it, so that no success is followed by a rest.
        """
        self._hurries = hurries
        self.put_right(self._host)
        for body in self._in_turn():
            if not self._may_go_on():
                return
            # What this machine is in the way of costs this body a wait, and no other anything.
            send = functools.partial(self._send, body)
            if (
                not self._troubles.attempt(body.path.name, send, otherwise=True)
                or self.patience.rest_left_s() > 0
            ):
                return

    def _in_turn(self) -> Iterator[Body]:
        """What is due, the body that failed last at the end: a collector may choke on that one alone.

        What waits for the first event of its burst waits with it, as long as that is undecided.
        """
        self._undecided = {first: whole for first, whole in self._undecided.items() if first.exists()}
        held = {member.key for whole in self._undecided.values() for member in whole.members(1)}
        last: Body | None = None
        for body in outbox.due(self._host):
            if body.path == self._last_failed:
                last = body
            elif body.key not in held:
                yield body
        if last is not None:
            yield last

    def _send(self, body: Body) -> bool:
        """Send one body; whether to go on with the next."""
        try:
            data = body.read()
        except FileNotFoundError:
            self._accepted.pop(body.path, None)
            return True  # somebody else's success
        except damage.NO_FILE_OF_OURS:
            return self._set_aside(body)
        event = intact(body.key, data)
        if not event:
            return self._set_aside(body)
        if body.path in self._accepted:
            return self._file_away(body, data)
        if forgotten.holds(self._home, data):
            outbox.let_go(body)
            return True
        if self._sink is None:
            self._sink = self._open_sink(self._settings)
        outcome = self._sink.send(body.key, data)
        self._state.requests += 1
        if not isinstance(outcome, Delivered) and not self._may_go_on():
            return False  # a no came meanwhile: nothing is written any more
        if isinstance(outcome, Retry):
            self._state.retried += 1
            self._last_failed = body.path
            self._failed(outcome)
            return False
        if isinstance(outcome, Refused):
            self._succeeded(body)
            if forgotten.holds(self._home, data):  # while it was on its way
                outbox.let_go(body)
                return True
            return self._refused(body, outcome, is_burst="burst" in event)
        self._accepted[body.path] = False  # before anything that may fail: it must not be sent again
        self._succeeded(body)
        self._state.delivered_events += burst.count(event)
        self._state.last_delivery = self._clock.now().isoformat()
        return self._file_away(body, data)

    def _file_away(self, body: Body, data: bytes) -> bool:
        """Archive a body that was accepted, and let it go; tried again if the disk is full, but not sent."""
        if not self._accepted[body.path]:
            if not forgotten.holds(self._home, data):  # it may have been forgotten on its way
                archive.archive(body.host, data, self._clock.now())
            self._accepted[body.path] = True
        outbox.let_go(body)
        del self._accepted[body.path]
        return True

    def _set_aside(self, body: Body) -> bool:
        log.warning("%s is no body: it is set aside in %s", body.path, body.host.damaged)
        damage.set_aside(body.host, body.path)
        self._state.damaged += 1
        return True

    def _refused(self, body: Body, outcome: Refused, *, is_burst: bool) -> bool:
        """A plain body is rejected; a burst is split, and its first event tells for all of them."""
        if not is_burst:
            self._reject(body, outcome.reason)
            if (whole := self._undecided.pop(body.path, None)) is not None:
                for sibling in whole.members(1):
                    self._reject(sibling, f"{outcome.reason} (the first event of its burst)")
            return True
        log.info("burst %s refused: splitting it", body.key)
        parts = split(body)
        if parts is None:
            self._state.damaged += 1
            return True
        for first in itertools.islice(parts.members(), 1):
            self._undecided[first.path] = parts
        return all(self._may_go_on() and self._send(member) for member in parts.members())

    def _reject(self, body: Body, reason: str) -> None:
        if outbox.rejected(body, reason):
            # The collector's own words, which may quote the body, are in its reason alone.
            log.warning("body %s rejected; its reason is beside it", body.key)
            self._state.rejected += 1

    def _succeeded(self, body: Body) -> None:
        self.was_answered = True
        self._last_failed = None
        self._state.next_try = self._state.last_error = ""
        if rest_s := self.patience.succeeded(waited_s=self._waited_s(body), hurries=self._hurries):
            self._state.next_try = self._in(rest_s)
            log.info("delivered again; the rest follows in %.1f s", rest_s)

    def _waited_s(self, body: Body) -> float:
        """Since its batch was taken, as the name of that tells."""
        taken_ns = body.path.parent.name.partition("-")[0]
        return (self._clock.time_ns() - int(taken_ns)) / 1e9 if taken_ns.isdecimal() else 0.0

    def _failed(self, outcome: Retry) -> None:
        wait_s = self.patience.failed(outcome.after_s)
        self._state.last_error = outcome.reason
        self._state.next_try = self._in(wait_s)
        log.warning("not delivered: %s; next try in %.1f s", outcome.reason, wait_s)

    def _in(self, seconds: float) -> str:
        return (self._clock.now() + timedelta(seconds=seconds)).isoformat()
