"""One outage: a fleet before, in and after it, and the figures of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.fleet_homes import HOUR_S
from tests.benchmarks.fleet_policies import BUCKET_S, Collector
from tests.benchmarks.fleet_simulation import Simulation

PER_MINUTE = int(60 / BUCKET_S)


@dataclass(frozen=True, slots=True)
class Times:
    """When what happens, in seconds from the start; the first hour brings the fleet into its stride."""

    away_s: float = 4 * HOUR_S
    back_s: float = 10 * HOUR_S
    end_s: float = 24 * HOUR_S
    settled_s: float = HOUR_S


@dataclass(frozen=True, slots=True)
class Figures:
    """What the collector sees. Rates are multiples of the steady rate, the mean before the outage.

    Attributes:
        steady_per_minute: that rate, in requests.
        steady_peak: its own highest minute.
        outage: requests that are tried in the outage, whether they reach anybody or not.
        peak: the highest minute after the outage.
        peak_10_s: the highest ten seconds after it.
        peak_minute: which minute that was, from the recovery on.
        floor: the mean of the hour after it: the peak if the same requests came evenly.
        alive: homes that hold something and have a sidecar when the collector is back.
        slowest_s: until a home had delivered what it held then, from the recovery on; for one without a
            sidecar, from the start of its next one on.
        late: how many of them took more than an hour, or are not done at the end, though they began an hour
            before it.
        asleep: how many wait for their next event to the end.
        minutes: requests of each minute, from the start on.
    """

    steady_per_minute: float
    steady_peak: float
    outage: float
    peak: float
    peak_10_s: float
    peak_minute: int
    floor: float
    alive: int
    slowest_s: float
    late: int
    asleep: int
    minutes: Sequence[int]


def outage(  # each is a part of the scene
    mix, homes, policy, *, seed, times, tells=None, capacity=math.inf, overload_after_s=None
):
    """Let a fleet live through an outage.

    Args:
        mix: what it consists of.
        homes: how many there are.
        policy: how they come back.
        seed: all chance comes from it.
        times: when what happens.
        tells: see ``Collector``.
        capacity: what the collector can take after it, as a multiple of an ordinary day.
        overload_after_s: see ``Collector``.
    """
    collector = Collector(
        (times.away_s, times.back_s),
        times.end_s,
        tells=tells,
        capacity_per_s=max(capacity * mix.requests_per_s(homes), 1.0),
        overload_after_s=overload_after_s,
    )
    simulation = Simulation(mix.counts(homes), policy, collector, seed)
    simulation.run(times.back_s)
    simulation.note_debts()
    alive = sum(place.owes and place.alive for place in simulation.places)
    simulation.run(times.end_s)
    seen = collector.seen[: int(times.end_s / BUCKET_S)]
    minutes = _minutes(seen)
    settled, away, back = (int(moment / 60) for moment in (times.settled_s, times.away_s, times.back_s))
    before, after = minutes[settled:away], minutes[back:]
    steady = sum(before) / len(before)
    tried = _minutes(collector.tried)[away:back]
    took = [place.cleared_at - place.owed_from for place in simulation.places if place.cleared_at < math.inf]
    open_ = [times.end_s - place.owed_from for place in simulation.places if place.owes]
    return Figures(
        steady_per_minute=steady,
        steady_peak=max(before) / steady,
        outage=sum(tried) / len(tried) / steady,
        peak=max(after) / steady,
        peak_10_s=max(seen[int(times.back_s / BUCKET_S) :]) * PER_MINUTE / steady,
        peak_minute=after.index(max(after)),
        floor=sum(after[:60]) / 60 / steady,
        alive=alive,
        slowest_s=max(took, default=0.0),
        late=sum(took_s > HOUR_S for took_s in [*took, *open_]),
        asleep=sum(since_s == -math.inf for since_s in open_),
        minutes=minutes,
    )


def _minutes(buckets):
    whole = len(buckets) - len(buckets) % PER_MINUTE
    return [sum(buckets[first : first + PER_MINUTE]) for first in range(0, whole, PER_MINUTE)]
