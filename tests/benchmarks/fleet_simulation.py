"""A fleet under a simulated clock: what each home does is decided by the functions that decide in a sidecar.

Of a sidecar are taken ``responses.outcome_of``, ``backoff.jitter``, ``Backoff`` (and by it
``backoff_s``), ``schedule.seal_is_due`` and ``reason_to_end``, and the defaults, ``Limits``. What
``sidecar/loop.py``, ``delivery/uploader.py`` and ``sidecar/lifetime.py`` put together from them is repeated
here without files: pack, deliver, end or sleep. A home is looked at when something is due, not four times a
second; a request takes no time.
"""

import heapq
import math
import random
from datetime import UTC, datetime

from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.backoff import Backoff, jitter
from flwr_telemetryd.delivery.outcome import Retry
from flwr_telemetryd.delivery.responses import outcome_of
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.schedule import LONGEST_WAIT_S, POLL_S, ExitReason, reason_to_end, seal_is_due
from tests.benchmarks.fleet_homes import Place

STARTS_IN_S = 0.3
CALM_S = 60.0
"""By then a service looks at the times of its files once in half a minute."""

_NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Simulation:
    """One run.

    Args:
        counts: the homes.
        policy: how they come back.
        collector: what they meet.
        seed: all chance comes from it.
    """

    def __init__(self, counts, policy, collector, seed):
        self._policy = policy
        self._collector = collector
        self._limits = Limits()
        self._chance = random.Random(seed)
        self._now, self._recovered_at = 0.0, math.inf
        draw = self._chance.random if policy.jitter else lambda: 1.0
        self._clock = Clock(monotonic=lambda: self._now, random=draw)
        self._queue = []
        self._number = 0
        self.places = [Place(kind, Backoff(self._clock)) for count, kind in counts for _ in range(count)]
        for place in self.places:
            place.alive = place.kind.mode is Mode.SERVICE
            self._next_burst(place)

    def run(self, until_s):
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] < until_s:
            self._now, _, is_burst, place = heapq.heappop(queue)
            if is_burst:
                self._burst(place)
                self._next_burst(place)
            elif place.next_look == self._now:
                place.next_look = math.inf
                self._look(place)
        self._now = until_s

    def note_debts(self):
        """The collector is back: note who holds something."""
        self._recovered_at = self._now
        for place in self.places:
            place.owes = place.waits()
            if place.owes and place.alive:
                place.owed_from = self._now

    # What happens in a home

    def _next_burst(self, place):
        kind = place.kind
        if kind.in_phase:
            when = (self._now // kind.every_s + 1) * kind.every_s
        else:
            when = self._now + self._chance.expovariate(1 / kind.every_s)
        self._push(when, place, is_burst=True)

    def _burst(self, place):
        now = self._now
        is_new = place.spooled_at is None
        if is_new:
            place.spooled_at = now
        if not place.alive:
            if now - place.started_at >= self._limits.respawn_s:
                self._start(place)
            return  # what a throttle leaves behind waits for the next event
        if is_new:
            is_asleep = place.kind.mode is Mode.SERVICE and now - place.busy_at > CALM_S
            place.first_seen = now + (self._chance.random() * LONGEST_WAIT_S if is_asleep else POLL_S)
        place.busy_at = now
        self._plan(place)

    def _start(self, place):
        place.alive = True
        place.backoff = Backoff(self._clock)
        place.barred_since, place.rests_until = math.inf, 0.0
        place.not_before = 0.0
        if place.told_until > self._now:  # an earlier life was
            place.fails = True
            self._bar(place, place.told_until)
        place.started_at = self._now
        place.first_seen = place.busy_at = self._now + STARTS_IN_S
        if place.owes and place.owed_from == math.inf:
            place.owed_from = self._now
        self._look_at(place, place.first_seen)

    def _look(self, place):
        """Pack, deliver, end or sleep: ``Sidecar._serve`` and ``ExitPolicy.reason``."""
        now = self._now
        if place.waits():
            place.busy_at = now
        may_try = self._barred_s(place) <= 0 and place.rests_until <= now
        if place.spooled_at is not None and place.first_seen <= now:
            takes = self._takes(place, may_try=may_try)
            age_s = now - place.first_seen
            if seal_is_due(1, age_s, self._limits.burst_window_s, may_batch=takes, immediately=False):
                place.outbox_since = place.outbox_since if place.outbox else now
                place.outbox += place.kind.bodies
                place.spooled_at = None
        if may_try:
            self._deliver(place)
        if place.owes and not place.outbox and (place.spooled_at or math.inf) > self._recovered_at:
            place.owes, place.cleared_at = False, now
        self._end(place)
        if place.alive:
            self._plan(place)

    def _deliver(self, place):
        """``Uploader.deliver``: body after body, until one has to wait."""
        now = self._now
        place.tried_at = now
        while place.outbox:
            status, after_s = self._collector.answer(now)
            outcome = Retry("no connection")
            if status is not None:
                headers = {} if after_s is None else {"Retry-After": f"{math.ceil(after_s)}"}
                outcome = outcome_of(status, headers, "", _NOW)
            if isinstance(outcome, Retry):
                self._failed(place, outcome)
                return
            failed, place.fails = place.fails, False
            place.backoff.succeeded()
            place.not_before = place.told_until = 0.0
            place.outbox -= 1
            if failed:
                waited_s, most_s = now - place.outbox_since, self._policy.most_rest_s
                place.rests_until = now + jitter(waited_s, most_s, self._chance.random())
                if place.rests_until > now:
                    return

    def _failed(self, place, outcome):
        place.fails = True
        at_least_s = 0.0
        if outcome.after_s is not None:
            self._bar(place, self._now + outcome.after_s)
            at_least_s = place.not_before - self._now
        place.backoff.failed(self._limits, at_least_s)

    def _bar(self, place, told_until):
        place.told_until = told_until
        after_s = told_until - self._now
        place.not_before = told_until + jitter(after_s, self._policy.most_spread_s, self._chance.random())

    def _end(self, place):
        now = self._now
        waits, may_try = place.waits(), self._barred_s(place) <= 0  # a rest is none of its business
        if not waits or may_try or place.rests_until > now:
            place.barred_since = math.inf
        else:
            place.barred_since = min(place.barred_since, now)
        since = min(place.backoff.since, place.barred_since)
        end = reason_to_end(
            place.kind.mode,
            self._limits,
            waits=waits,
            quiet_s=now - place.busy_at,
            failing_s=now - since,
            may_try=may_try,
            stuck=False,
        )
        is_told = now < place.told_until  # which is never skipped, but what was added to it is
        if end is ExitReason.OFFLINE and self._policy.last_try and place.tried_at < now and not is_told:
            self._deliver(place)
            end = end if place.backoff.since < math.inf else None
        place.alive = end is None

    # When to look again

    def _barred_s(self, place):
        """``Uploader.wait_s``, what is added to a ``Retry-After`` included."""
        return max(place.backoff.wait_s(), place.not_before - self._now)

    def _takes(self, place, *, may_try):
        is_resting = place.rests_until > self._now
        return (place.backoff.since == math.inf and may_try) or (not place.outbox and not is_resting)

    def _plan(self, place):
        """Look again as soon as anything is due; a burst may bring that forward."""
        now, limits = self._now, self._limits
        barred_s = max(self._barred_s(place), place.rests_until - now)
        due = math.inf
        if place.outbox:
            due = now + barred_s
        if place.spooled_at is not None:
            if self._takes(place, may_try=barred_s <= 0):
                due = min(due, place.first_seen + limits.burst_window_s)
            elif place.backoff.since == math.inf:
                due = min(due, now + barred_s)
        if place.kind.mode is Mode.ON_DEMAND:
            if not place.waits():
                due = min(due, place.busy_at + limits.idle_exit_s)
            failing_since = min(place.backoff.since, place.barred_since)
            due = min(due, failing_since + limits.offline_exit_s)
        self._look_at(place, max(due, now + POLL_S))

    def _look_at(self, place, when):
        if when not in {place.next_look, math.inf}:
            place.next_look = when
            self._push(when, place, is_burst=False)

    def _push(self, when, place, *, is_burst):
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, is_burst, place))
