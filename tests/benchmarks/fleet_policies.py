"""What is compared: ways to come back after an outage, and ways in which a collector is away and returns."""

import math
from dataclasses import dataclass
from http import HTTPStatus

from flwr_telemetry.settings_file import Limits

BUCKET_S = 10.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How sidecars come back.

    Attributes:
        name: for the table.
        jitter: whether the waits of the backoff are drawn; else each is as long as its bound.
        most_rest_s: after a success that follows a failure, see ``backoff.jitter``; 0 for none.
        most_spread_s: added to a ``Retry-After``, see there; 0 for none.
        last_try: whether a sidecar that is about to end, since it failed for too long, tries once more.
    """

    name: str
    jitter: bool = True
    most_rest_s: float = 0.0
    most_spread_s: float = 0.0
    last_try: bool = False


LONGEST_S = Limits().backoff_max_s
NONE = Policy("no jitter", jitter=False)
FULL = Policy("full jitter")
REST = Policy("full jitter, rest", most_rest_s=LONGEST_S)
CHOSEN = Policy(
    "chosen: rest, spread, last try", most_rest_s=LONGEST_S, most_spread_s=LONGEST_S, last_try=True
)
POLICIES = (NONE, FULL, REST, CHOSEN)


class Collector:
    """Away for a while; counts what reaches it.

    Args:
        away: from when to when, in seconds.
        end_s: of the simulation.
        tells: how an absent collector asks to be left alone, by the seconds since it went and until it is
            back; None for one that cannot be reached at all.
        capacity_per_s: what it can take after it is back; it answers 503 beyond that.
        overload_after_s: the ``Retry-After`` of that answer, if there is one.
    """

    def __init__(self, away, end_s, *, tells=None, capacity_per_s=math.inf, overload_after_s=None):
        self._from_s, self._until_s = away
        self._tells = tells
        self._capacity_per_s = capacity_per_s
        self._overload_after_s = overload_after_s
        self._second = (-1, 0)
        self.seen = [0] * (math.ceil(end_s / BUCKET_S) + 1)
        self.tried = [0] * len(self.seen)
        """Also those that did not reach it."""

    def answer(self, now):
        """What comes of a request: its status, None for no connection, and a ``Retry-After``."""
        bucket = int(now / BUCKET_S)
        self.tried[bucket] += 1
        if self._from_s <= now < self._until_s:
            if self._tells is None:
                return None, None
            self.seen[bucket] += 1
            return HTTPStatus.SERVICE_UNAVAILABLE, self._tells(now - self._from_s, self._until_s - now)
        self.seen[bucket] += 1
        second, taken = self._second
        taken = taken + 1 if second == int(now) else 1
        self._second = (int(now), taken)
        if now >= self._until_s and taken > self._capacity_per_s:
            return HTTPStatus.SERVICE_UNAVAILABLE, self._overload_after_s
        return HTTPStatus.OK, None
