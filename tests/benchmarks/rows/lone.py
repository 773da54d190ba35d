"""All processor time of one workload, from 1 to 1000 events, until they are delivered over TLS.

Ours is that of the emitter and of the whole life of the sidecar, by default. A supervisor waits for
each process that a contender leaves behind. What a program costs before it reports is not counted: the
start of Python, and of Flower where it is installed. The import of a peer is counted.
The home had an event before, and its machine was not started since.
"""

import contextlib
import statistics
from dataclasses import replace
from functools import partial

from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.peers import OURS
from tests.benchmarks.rows.delivery import FLOOR, delivered, floor_ms

FLOWER = "flwr-1.42"
SIZES = {  # and the targets against Flower
    2: Target("≤ 1 times, then ≤ 0.7", "ratio", at_most=1),
    10: Target("≤ 0.5 times", "ratio", at_most=0.5),
}
DEPLOYMENT = 38, Target("≤ 0.2 times", "ratio", at_most=0.2)
MORE = (1, 5, 50, 200, 1000)
SLOW = {"iterative-telemetry": 50}  # it starts a Python for each event
PAUSE_S = 180


def measure(bench):
    """Two, ten and 38 events with targets against Flower; other sizes for the plot."""
    with contextlib.ExitStack() as stack:
        homes = {}
        for one in bench.everybody():
            homes[one] = stack.enter_context(bench.place())
            delivered(bench, one, 1, "alone", home=homes[one])
        for events, target in SIZES.items():
            what = f"{events} events of one process"
            yield from _beside(bench, homes, what, events, bench.pick(5, 2), target, "alone")
        events, target = DEPLOYMENT
        what = f"{events} events of a deployment, 8 processes"
        yield from _beside(bench, homes, what, events, bench.pick(3, 1), target, "apart")
        what, few = (
            f"2 events, {PAUSE_S / 60:g} minutes apart",
            {one: homes[one] for one in bench.everybody(FLOWER)},
        )
        yield from _beside(bench, few, what, 2, 1, None, "alone", str(PAUSE_S))
        for events in bench.pick(MORE, MORE[-1:]):
            what = f"{events} events of one process" if events > 1 else "1 event"
            yield from _beside(bench, homes, what, events, 1, None, "alone")


def _beside(bench, homes, what, events, rounds, target, *mode):
    everybody = [one for one in homes if events <= SLOW.get(one.name, events)]
    nothing = {one: [] for one in everybody}
    measures = {
        one: partial(_busy_ms, bench, one, homes[one], events, nothing[one], *mode) for one in everybody
    }
    times = bench.in_turn(rounds, what, measures)
    floors = bench.in_turn(rounds, FLOOR, {FLOOR: partial(floor_ms, bench)})
    net = {one: tuple(ms - statistics.median(nothing[one]) for ms in found) for one, found in times.items()}
    size = events if mode == ("alone",) else 0
    yield Figure("lone", what, FLOOR, "ms", net[OURS], floors[FLOOR])
    for figure in bench.against_peers("lone", what, "ms", net, targets={FLOWER: target}):
        yield replace(figure, size=size)


def _busy_ms(bench, one, home, events, nothing, *mode):
    """The milliseconds of one contender, from where it began to report, and of all that it left behind.

    Add to ``nothing`` those of its end without a report, which belong to Python and Flower.
    """
    for _ in range(2):
        without = delivered(bench, one, 0, *mode[:1], home=home)
        nothing.append(1e3 * (without["first_s"] - without["before_s"]))
    told = delivered(bench, one, events, *mode, home=home)
    return 1e3 * (told["first_s"] - told["before_s"] + sum(told["others_s"]))
