"""The end of an outage, for a small fleet under a simulated clock: ``tests/benchmarks/fleet.py``."""

import functools

from tests.benchmarks.fleet import Times, outage
from tests.benchmarks.fleet_simulation import CHOSEN, FULL, HOUR_S, NONE, REST, USUAL

HOMES = 2000
TIMES = Times(settled_s=0.25 * HOUR_S, away_s=1.5 * HOUR_S, back_s=3.5 * HOUR_S, end_s=5 * HOUR_S)


@functools.cache
def figures(policy):
    return outage(USUAL, HOMES, policy, seed=7, times=TIMES)


def test_the_chosen_policy_keeps_the_peak_low():
    """At most 2.5 times the steady rate, and all within an hour. Backoff or jitter alone does not do."""
    chosen = figures(CHOSEN)
    assert (chosen.peak <= 2.5, chosen.late, chosen.slowest_s <= HOUR_S) == (True, 0, True)
    assert min(figures(NONE).peak, figures(FULL).peak) > 3
    assert figures(REST).late > 0  # without a last try some bodies wait for their next event


def test_a_moment_that_is_named_to_all_is_no_peak():
    """A collector that says when it is back is not met by everybody at that second."""
    told = functools.partial(outage, USUAL, HOMES, seed=7, times=TIMES, tells=lambda _since_s, left_s: left_s)
    chosen = told(CHOSEN)
    assert told(FULL).peak > 6
    assert chosen.peak <= 2.5
    assert chosen.late == 0
