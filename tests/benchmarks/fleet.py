"""A fleet after an outage of the collector, by simulation: ``python -m tests.benchmarks.fleet --plot``.

A simulated clock drives the functions that decide in a sidecar, for 100,000 homes through a day with an
outage of six hours. Smaller fleets show on which assumptions the result depends. The figures are peaks after
the outage, as multiples of the steady rate before it, for the chosen policy and for others. The goal is at
most 2, and everything delivered within an hour. The same seed gives the same figures; 100,000 homes take some
minutes.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.fleet_simulation import (
    BUCKET_S,
    CALM_CLUSTER,
    CI,
    CLUSTER,
    HOUR_S,
    IN_PHASE,
    LAPTOP,
    POLICIES,
    USUAL,
    Collector,
    Simulation,
    requests_per_s,
)

BUCKETS_PER_MINUTE = int(60 / BUCKET_S)
SHOWN_BEFORE_MINUTES, SHOWN_AFTER_MINUTES = 30, 90
LEGEND = """\
Rates are multiples of the steady rate, which is the mean before the outage.
steady peak: its highest minute; outage: requests tried during the outage; peak, 10 s, at min: the highest
minute and ten seconds after the outage, and which minute; even: the peak if the requests of the first hour
came evenly; alive: homes that hold something and whose sidecar runs when the collector is back; slowest: the
time until such a home has delivered, from the start of its next sidecar if none runs; late: homes that take
more than an hour; asleep: homes without an event until the end.
"""
HEAD = "steady peak outage |  peak  10 s  at min | even  | alive  slowest  late asleep"


class Times(NamedTuple):
    """The times of a scene, in seconds from the start."""

    away_s: float = 4 * HOUR_S
    back_s: float = 10 * HOUR_S
    end_s: float = 24 * HOUR_S
    settled_s: float = HOUR_S
    """The steady rate is measured from here."""


HALF_A_DAY = Times(end_s=14 * HOUR_S)
MAIN = "usual mix"
# The mix, the divisor of the number of homes, and the other arguments of `outage`.
SCENES = {
    MAIN: (USUAL, 1, {"times": Times()}),
    "laptops alone": ({LAPTOP: 1}, 2, {}),
    "CI machines alone": ({CI: 1}, 10, {}),
    "clusters alone": ({CLUSTER: 1}, 50, {}),
    "calm clusters alone": ({CALM_CLUSTER: 1}, 20, {}),
    "in phase, back at a burst": (IN_PHASE, 20, {}),
    "in phase, back after one": (IN_PHASE, 20, {"times": HALF_A_DAY._replace(back_s=10 * HOUR_S + 120)}),
    "usual mix, told when it is back": (USUAL, 10, {"tells": lambda _since_s, left_s: left_s}),
    "usual mix, takes 2 x, 503": (USUAL, 10, {"capacity": 2}),
    "usual mix, takes 2 x, 503 for 60 s": (USUAL, 10, {"capacity": 2, "overload_after_s": 60}),
}


class Figures(NamedTuple):
    """The requests that the collector sees; ``LEGEND`` explains them. ``minutes`` counts each minute."""

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


def outage(
    mix, homes, policy, *, seed, times=HALF_A_DAY, tells=None, capacity=math.inf, overload_after_s=None
):
    """The figures of one outage; ``tells`` and ``overload_after_s`` are those of ``Collector``.

    ``capacity`` is a multiple of the requests of an ordinary day.
    """
    capacity_per_s = max(capacity * requests_per_s(mix, homes), 1.0)
    collector = Collector(times.away_s, times.back_s, times.end_s, tells, capacity_per_s, overload_after_s)
    simulation = Simulation(mix, homes, policy, collector, seed)
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
        peak_10_s=max(seen[int(times.back_s / BUCKET_S) :]) * BUCKETS_PER_MINUTE / steady,
        peak_minute=after.index(max(after)),
        floor=sum(after[:60]) / 60 / steady,
        alive=alive,
        slowest_s=max(took, default=0.0),
        late=sum(took_s > HOUR_S for took_s in [*took, *open_]),
        asleep=sum(since_s == -math.inf for since_s in open_),
        minutes=minutes,
    )


def _minutes(buckets):
    whole = len(buckets) - len(buckets) % BUCKETS_PER_MINUTE
    return [sum(buckets[at : at + BUCKETS_PER_MINUTE]) for at in range(0, whole, BUCKETS_PER_MINUTE)]


def measure(name, homes, seed):
    """Print and give the figures of a scene for each policy."""
    mix, divisor, arguments = SCENES[name]
    count = max(homes // divisor, 1)
    print(f"\n{name}: {count:,} homes, {requests_per_s(mix, count) * 60:,.0f} requests a minute")
    found = {}
    for policy in POLICIES:
        begin = time.perf_counter()
        of = found[policy.name] = outage(mix, count, policy, seed=seed, **arguments)
        print(
            f"  {policy.name:32} {of.steady_peak:6.2f} {of.outage:11.2f} | {of.peak:5.2f} "
            f"{of.peak_10_s:5.2f} {of.peak_minute:7} | {of.floor:5.2f} | {of.alive:5} {of.slowest_s:6.0f} s "
            f"{of.late:5} {of.asleep:6}  ({time.perf_counter() - begin:.0f} s)",
            flush=True,
        )
    return found


def plot(found, file):
    """Draw the requests around the end of the outage."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fleet"  # the same figures give the same file
    from matplotlib import pyplot as plt

    back = int(Times().back_s / 60)
    shown = slice(back - SHOWN_BEFORE_MINUTES, back + SHOWN_AFTER_MINUTES)
    figure, axes = plt.subplots(figsize=(8, 4))
    for name, figures in found.items():
        rates = [count / figures.steady_per_minute for count in figures.minutes[shown]]
        minutes = range(-SHOWN_BEFORE_MINUTES, SHOWN_AFTER_MINUTES)
        axes.step(minutes, rates, where="post", label=f"{name}: peak {figures.peak:.1f}", linewidth=1.2)
    axes.axhline(1, color="grey", linestyle=":", linewidth=1)
    axes.axhline(2, color="grey", linestyle="--", linewidth=1)
    axes.set_xlabel("minutes from the end of an outage of six hours")
    axes.set_ylabel("requests, times the steady rate")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    parser.add_argument("--homes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), metavar="DIR")
    parser.add_argument("--plot", action="store_true", help="draw fleet.svg too; needs matplotlib")
    parser.add_argument("--only-main", action="store_true", help="only the largest fleet")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    print(f"{LEGEND}\n{'':34} {HEAD}")
    kept = {}
    for name in [MAIN] if chosen.only_main else SCENES:
        found = measure(name, chosen.homes, chosen.seed)
        kept[name] = {policy: figures._asdict() for policy, figures in found.items()}
        text = json.dumps({"homes": chosen.homes, "seed": chosen.seed, "scenes": kept}, separators=(",", ":"))
        (chosen.out / "fleet.json").write_text(text + "\n", encoding="utf-8")
        if name == MAIN and chosen.plot:
            plot(found, chosen.out / "fleet.svg")


if __name__ == "__main__":
    main()
