"""Backoff and jitter: the bounds of the waits, and the peak that they leave of an outage."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.delivery.backoff import backoff_s, jitter
from tests.benchmarks.fleet import Times, outage
from tests.benchmarks.fleet_simulation import CHOSEN, FULL, HOUR_S, NONE, REST, USUAL
from tests.support.strategies import tried

finite = st.floats(0, 1e6)


@tried(200)
@given(st.integers(-5, 10**9), finite, finite, st.floats(0, 1), st.floats(0, 1))
def test_backoff_has_bounds(failures, first_s, most_s, one, two):
    bound = backoff_s(failures, first_s, most_s, 1)
    assert bound == min(most_s, first_s * 2 ** min(max(failures - 1, 0), 60))
    low, high = sorted([one, two])
    assert (
        0 <= backoff_s(failures, first_s, most_s, low) <= backoff_s(failures, first_s, most_s, high) <= bound
    )
    assert backoff_s(failures, first_s, most_s, 0) == 0
    assert backoff_s(failures, first_s, most_s, 0.5) == pytest.approx(bound / 2)
    assert bound <= backoff_s(failures + 1, first_s, most_s, 1) <= max(2 * bound, bound)


@tried(200)
@given(st.floats(-1e6, 1e6), finite, st.floats(0, 1), st.floats(0, 1))
def test_jitter_has_bounds(given_s, most_s, one, two):
    bound = max(min(given_s, most_s), 0)
    low, high = sorted([one, two])
    assert 0 <= jitter(given_s, most_s, low) <= jitter(given_s, most_s, high) <= bound
    assert (jitter(given_s, most_s, 0), jitter(given_s, most_s, 0.5)) == (0, pytest.approx(bound / 2))
    assert jitter(given_s, most_s, 1) == bound


# The end of an outage, for a small fleet under a simulated clock

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
