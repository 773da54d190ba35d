"""A fleet that comes back after an outage, by simulation: ``python -m tests.benchmarks.fleet --plot``.

The functions that decide in a sidecar are driven by a simulated clock for a hundred thousand homes, through
a day with an outage of six hours; smaller fleets show what the answer depends on. The figures are peaks
of what the collector sees after the outage, as multiples of the steady rate before it (goal: at most 2, and
all delivered within an hour), for our policy, for others, and without jitter. The same seed gives the same
figures on every machine; with 100,000 homes it takes some minutes.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import fleet_homes
from tests.benchmarks.fleet_homes import HOUR_S, Mix
from tests.benchmarks.fleet_outage import Times, outage
from tests.benchmarks.fleet_policies import POLICIES

SHOWN_BEFORE_MINUTES, SHOWN_AFTER_MINUTES = 30, 90
LEGEND = """\
Rates are multiples of the steady rate, the mean before the outage.
steady peak: the highest minute before it; outage: tries while it lasts; peak, 10 s: the highest minute and
ten seconds after it, and in which minute; even: the peak if the requests of the first hour came evenly;
alive: homes with something to deliver whose sidecar lives when the collector is back; slowest: until a home
has delivered what it held then, from its next start on if no sidecar lives; late: homes that take more than
an hour; asleep: homes without an event until the end.
"""
HEAD = "steady peak outage |  peak  10 s  at min | even  | alive  slowest  late asleep"

HALF_A_DAY = Times(end_s=14 * HOUR_S)


@dataclass(frozen=True, slots=True)
class Scene:
    """One outage, for every policy.

    Attributes:
        name: for the table.
        mix: what the fleet consists of.
        part: how many times smaller it is than the largest.
        times: when what happens.
        tells: see ``outage``, as the following two.
        capacity: what the collector can take after it.
        overload_after_s: what it says beyond that.
    """

    name: str
    mix: Mix
    part: int = 20
    times: Times = HALF_A_DAY
    tells: Callable[[float, float], float] | None = None
    capacity: float = math.inf
    overload_after_s: float | None = None


def _until_back(_since_s, left_s):
    return left_s


MAIN = Scene("usual mix", fleet_homes.USUAL, part=1, times=Times())
SCENES = (
    MAIN,
    Scene("laptops alone", fleet_homes.LAPTOPS, part=2),
    Scene("CI machines alone", fleet_homes.CIS, part=10),
    Scene("clusters alone", fleet_homes.CLUSTERS, part=50),
    Scene("calm clusters alone", fleet_homes.CALM_CLUSTERS),
    Scene("in phase, back at a burst", fleet_homes.IN_PHASE),
    Scene(
        "in phase, back after one",
        fleet_homes.IN_PHASE,
        times=Times(back_s=10 * HOUR_S + 120, end_s=14 * HOUR_S),
    ),
    Scene("usual mix, told when it is back", fleet_homes.USUAL, part=10, tells=_until_back),
    Scene("usual mix, takes 2 x, 503", fleet_homes.USUAL, part=10, capacity=2),
    Scene("usual mix, takes 2 x, 503 for 60 s", fleet_homes.USUAL, part=10, capacity=2, overload_after_s=60),
)


def _row(figures):
    return (
        f"{figures.steady_peak:6.2f} {figures.outage:11.2f} | {figures.peak:5.2f} {figures.peak_10_s:5.2f} "
        f"{figures.peak_minute:7} | {figures.floor:5.2f} | {figures.alive:5} {figures.slowest_s:6.0f} s "
        f"{figures.late:5} {figures.asleep:6}"
    )


def measure(scene, homes, seed):
    """The figures of a scene for every policy; printed."""
    count = max(homes // scene.part, 1)
    print(f"\n{scene.name}: {count:,} homes, {scene.mix.requests_per_s(count) * 60:,.0f} requests a minute")
    found = {}
    for policy in POLICIES:
        begin = time.perf_counter()
        found[policy.name] = outage(
            scene.mix,
            count,
            policy,
            seed=seed,
            times=scene.times,
            tells=scene.tells,
            capacity=scene.capacity,
            overload_after_s=scene.overload_after_s,
        )
        took_s = time.perf_counter() - begin
        print(f"  {policy.name:32} {_row(found[policy.name])}  ({took_s:.0f} s)", flush=True)
    return found


def plot(found, file):
    """Draw what the collector sees around the recovery."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fleet"  # the same figures give the same file
    from matplotlib import pyplot as plt

    back = int(MAIN.times.back_s / 60)
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
    """Print all figures, and keep them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet", description=__doc__)
    parser.add_argument("--homes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), metavar="DIR")
    parser.add_argument("--plot", action="store_true", help="draw fleet.svg too; needs matplotlib")
    parser.add_argument("--only-main", action="store_true", help="the largest fleet alone")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    print(f"{LEGEND}\n{'':34} {HEAD}")
    kept = {}
    for scene in SCENES[:1] if chosen.only_main else SCENES:
        found = measure(scene, chosen.homes, chosen.seed)
        kept[scene.name] = {name: dataclasses.asdict(figures) for name, figures in found.items()}
        text = json.dumps({"homes": chosen.homes, "seed": chosen.seed, "scenes": kept}, separators=(",", ":"))
        (chosen.out / "fleet.json").write_text(text + "\n", encoding="utf-8")
        if scene is MAIN and chosen.plot:
            plot(found, chosen.out / "fleet.svg")


if __name__ == "__main__":
    main()
