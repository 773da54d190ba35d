"""A fleet of homes under a simulated clock, and the collector that it delivers to.

The sidecar's own functions decide: ``outcome_of``, ``jitter``, ``Backoff``, ``seal_is_due`` and
``reason_to_end``, with the default ``Limits``. This module repeats, without files, how the loop, the uploader
and the exit policy combine them. A home has its next pass when something is due, not four times a second. A
request takes no time.
"""

import heapq
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple

from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.backoff import Backoff, jitter
from flwr_telemetryd.delivery.outcome import Retry
from flwr_telemetryd.delivery.responses import outcome_of
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.schedule import LONGEST_WAIT_S, POLL_S, ExitReason, reason_to_end, seal_is_due

HOUR_S = 3600.0
BUCKET_S = 10.0
BODIES = 2  # a burst holds events of two types: enter and leave
STARTS_IN_S = 0.3
CALM_S = 60.0  # after this time a service lists its files only every half minute
LIMITS = Limits()
_NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Kind(NamedTuple):
    """Homes that are alike."""

    mode: Mode
    every_s: float
    """The mean time between two bursts."""
    in_phase: bool = False
    """All bursts of this kind happen at multiples of ``every_s``; else at random times."""


# A mix is the share of each kind. The mixes are assumptions. They differ in how many sidecars are alive when
# the collector is back, and in how much these hold above what they send on an ordinary day.
LAPTOP, CI = Kind(Mode.ON_DEMAND, 6 * HOUR_S), Kind(Mode.ON_DEMAND, HOUR_S / 2)
CLUSTER, CALM_CLUSTER = Kind(Mode.SERVICE, HOUR_S / 12), Kind(Mode.SERVICE, HOUR_S)
USUAL = {LAPTOP: 0.75, CI: 0.20, CLUSTER: 0.05}
IN_PHASE = {kind._replace(in_phase=kind is not LAPTOP): share for kind, share in USUAL.items()}


def requests_per_s(mix, homes):
    """The requests of a fleet on an ordinary day."""
    return sum(round(share * homes) * BODIES / kind.every_s for kind, share in mix.items())


class Policy(NamedTuple):
    """How sidecars deliver after an outage."""

    name: str
    has_jitter: bool = True
    """The waits of the backoff are random; else each is as long as its upper limit."""
    most_rest_s: float = 0.0
    """The upper limit of the wait after a success that follows a failure."""
    most_spread_s: float = 0.0
    """The upper limit of the time that is added to a ``Retry-After``."""
    last_try: bool = False
    """A sidecar that ends because of failures tries once more before."""


NONE, FULL = Policy("no jitter", has_jitter=False), Policy("full jitter")
REST = Policy("full jitter, rest", most_rest_s=LIMITS.backoff_max_s)
CHOSEN = Policy("chosen: rest, spread, last try", True, LIMITS.backoff_max_s, LIMITS.backoff_max_s, True)
POLICIES = (NONE, FULL, REST, CHOSEN)


class Collector:
    """Counts requests; is absent from ``away_s`` to ``back_s``.

    Args:
        tells: the ``Retry-After`` of the absent collector, from the seconds since it left and until it is
            back. None for a collector that cannot be reached.
        capacity_per_s: the requests that it takes after its return; it answers 503 to more.
        overload_after_s: the ``Retry-After`` of that answer, if any.
    """

    def __init__(self, away_s, back_s, end_s, tells, capacity_per_s, overload_after_s):
        self._away_s, self._back_s, self._tells = away_s, back_s, tells
        self._capacity_per_s, self._overload_after_s = capacity_per_s, overload_after_s
        self._second = (-1, 0)
        self.seen = [0] * (math.ceil(end_s / BUCKET_S) + 1)
        self.tried = [0] * len(self.seen)  # includes requests that did not reach it

    def answer(self, now):
        """The status of a request, None without a connection, and a ``Retry-After``."""
        bucket = int(now / BUCKET_S)
        self.tried[bucket] += 1
        is_away = self._away_s <= now < self._back_s
        if is_away and self._tells is None:
            return None, None
        self.seen[bucket] += 1
        if is_away:
            return HTTPStatus.SERVICE_UNAVAILABLE, self._tells(now - self._away_s, self._back_s - now)
        second, taken = self._second
        taken = taken + 1 if second == int(now) else 1
        self._second = (int(now), taken)
        if now >= self._back_s and taken > self._capacity_per_s:
            return HTTPStatus.SERVICE_UNAVAILABLE, self._overload_after_s
        return HTTPStatus.OK, None


@dataclass(slots=True, eq=False)
class Place:
    """One home, and the run of a sidecar in it."""

    kind: Kind
    backoff: Backoff
    alive: bool
    outbox: int = 0
    outbox_since: float = 0.0
    spooled_at: float | None = None  # the oldest event that is in no batch
    first_seen: float = 0.0
    busy_at: float = 0.0
    next_pass: float = math.inf
    retry_after_until: float = 0.0
    not_before: float = 0.0  # the same with the spread
    rests_until: float = 0.0
    blocked_since: float = math.inf
    fails: bool = False  # also if the earlier run failed to its end
    started_at: float = -math.inf
    tried_at: float = -math.inf
    owes: bool = False  # holds something from before the end of the outage
    owed_from: float = math.inf
    cleared_at: float = math.inf

    def waits(self):
        return self.outbox > 0 or self.spooled_at is not None


class Simulation:
    """One run of a fleet; the same seed gives the same run."""

    def __init__(self, mix, homes, policy, collector, seed):
        self._policy, self._collector = policy, collector
        self._chance = random.Random(seed)
        self._now, self._recovered_at = 0.0, math.inf
        draw = self._chance.random if policy.has_jitter else lambda: 1.0
        self._clock = Clock(monotonic=lambda: self._now, random=draw)
        self._queue, self._number = [], 0
        self.places = [
            Place(kind, Backoff(self._clock), kind.mode is Mode.SERVICE)
            for kind, share in mix.items()
            for _ in range(round(share * homes))
        ]
        for place in self.places:
            self._next_burst(place)

    def run(self, until_s):
        queue = self._queue
        while queue and queue[0][0] < until_s:
            self._now, _, is_burst, place = heapq.heappop(queue)
            if is_burst:
                self._burst(place)
                self._next_burst(place)
            elif place.next_pass == self._now:
                place.next_pass = math.inf
                self._pass(place)
        self._now = until_s

    def note_debts(self):
        """Note which homes hold something at the end of the outage."""
        self._recovered_at = self._now
        for place in self.places:
            place.owes = place.waits()
            if place.owes and place.alive:
                place.owed_from = self._now

    def _next_burst(self, place):
        every_s = place.kind.every_s
        in_phase_at = (self._now // every_s + 1) * every_s
        when = in_phase_at if place.kind.in_phase else self._now + self._chance.expovariate(1 / every_s)
        self._push(when, place, is_burst=True)

    def _burst(self, place):
        now = self._now
        is_new = place.spooled_at is None
        if is_new:
            place.spooled_at = now
        if not place.alive:
            if now - place.started_at >= LIMITS.respawn_s:
                self._start(place)
            return  # else the events wait for the next burst
        if is_new:
            is_asleep = place.kind.mode is Mode.SERVICE and now - place.busy_at > CALM_S
            place.first_seen = now + (self._chance.random() * LONGEST_WAIT_S if is_asleep else POLL_S)
        place.busy_at = now
        self._plan(place)

    def _start(self, place):
        place.alive, place.backoff = True, Backoff(self._clock)
        place.blocked_since, place.rests_until, place.not_before = math.inf, 0.0, 0.0
        if place.retry_after_until > self._now:  # an earlier run received it
            place.fails = True
            self._block(place, place.retry_after_until)
        place.started_at = self._now
        place.first_seen = place.busy_at = self._now + STARTS_IN_S
        if place.owes and place.owed_from == math.inf:
            place.owed_from = self._now
        self._plan_at(place, place.first_seen)

    def _pass(self, place):
        """Batch, deliver, end or sleep, as ``Sidecar.run_pass``."""
        now = self._now
        if place.waits():
            place.busy_at = now
        may_try = self._blocked_s(place) <= 0 and place.rests_until <= now
        if place.spooled_at is not None and place.first_seen <= now:
            may_batch, age_s = self._may_batch(place, may_try=may_try), now - place.first_seen
            if seal_is_due(1, age_s, LIMITS.burst_window_s, may_batch=may_batch, immediately=False):
                place.outbox_since = place.outbox_since if place.outbox else now
                place.outbox += BODIES
                place.spooled_at = None
        if may_try:
            self._deliver(place)
        if place.owes and not place.outbox and (place.spooled_at or math.inf) > self._recovered_at:
            place.owes, place.cleared_at = False, now
        self._end(place)
        if place.alive:
            self._plan(place)

    def _deliver(self, place):
        """Send one body after the other until one has to wait, as ``Uploader.deliver``."""
        now = place.tried_at = self._now
        while place.outbox:
            status, after_s = self._collector.answer(now)
            outcome = Retry("no connection")
            if status is not None:
                headers = {} if after_s is None else {"Retry-After": f"{math.ceil(after_s)}"}
                outcome = outcome_of(status, headers, "", _NOW)
            if isinstance(outcome, Retry):
                place.fails = True
                if outcome.after_s is not None:
                    self._block(place, now + outcome.after_s)
                at_least_s = 0.0 if outcome.after_s is None else place.not_before - now
                place.backoff.failed(LIMITS, at_least_s)
                return
            failed, place.fails = place.fails, False
            place.backoff.succeeded()
            place.not_before = place.retry_after_until = 0.0
            place.outbox -= 1
            if failed:
                waited_s = now - place.outbox_since
                place.rests_until = now + jitter(waited_s, self._policy.most_rest_s, self._chance.random())
                if place.rests_until > now:
                    return

    def _block(self, place, until):
        place.retry_after_until = until
        spread_s = jitter(until - self._now, self._policy.most_spread_s, self._chance.random())
        place.not_before = until + spread_s

    def _end(self, place):
        """End the run of the sidecar if it is due, as ``ExitPolicy.reason``."""
        now = self._now
        waits, may_try = place.waits(), self._blocked_s(place) <= 0  # a rest is no reason to end
        is_blocked = waits and not may_try and place.rests_until <= now
        place.blocked_since = min(place.blocked_since, now) if is_blocked else math.inf
        failing_s = now - min(place.backoff.since, place.blocked_since)
        quiet_s, mode = now - place.busy_at, place.kind.mode
        end = reason_to_end(
            mode, LIMITS, waits=waits, quiet_s=quiet_s, failing_s=failing_s, may_try=may_try, stuck=False
        )
        may_try_last = self._policy.last_try and place.tried_at < now >= place.retry_after_until
        if end is ExitReason.OFFLINE and may_try_last:
            self._deliver(place)
            end = end if place.backoff.since < math.inf else None
        place.alive = end is None

    def _blocked_s(self, place):
        return max(place.backoff.wait_s(), place.not_before - self._now)

    def _may_batch(self, place, *, may_try):
        is_resting = place.rests_until > self._now
        return (place.backoff.since == math.inf and may_try) or (not place.outbox and not is_resting)

    def _plan(self, place):
        """Plan the next pass for the time when something is due."""
        now = self._now
        blocked_s = max(self._blocked_s(place), place.rests_until - now)
        due = now + blocked_s if place.outbox else math.inf
        if place.spooled_at is not None:
            if self._may_batch(place, may_try=blocked_s <= 0):
                due = min(due, place.first_seen + LIMITS.burst_window_s)
            elif place.backoff.since == math.inf:
                due = min(due, now + blocked_s)
        if place.kind.mode is Mode.ON_DEMAND:
            if not place.waits():
                due = min(due, place.busy_at + LIMITS.idle_exit_s)
            due = min(due, min(place.backoff.since, place.blocked_since) + LIMITS.offline_exit_s)
        self._plan_at(place, max(due, now + POLL_S))

    def _plan_at(self, place, when):
        if when not in {place.next_pass, math.inf}:
            place.next_pass = when
            self._push(when, place, is_burst=False)

    def _push(self, when, place, *, is_burst):
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, is_burst, place))
