"""The way back after an outage, of a small fleet under a simulated clock: ``tests/benchmarks/fleet.py``."""

from __future__ import annotations

import functools

import pytest

from tests.benchmarks import fleet_homes
from tests.benchmarks.fleet_homes import HOUR_S
from tests.benchmarks.fleet_outage import Figures, Times, outage
from tests.benchmarks.fleet_policies import CHOSEN, FULL, NONE, PAUSE, Policy

HOMES = 2000
TIMES = Times(settled_s=0.5 * HOUR_S, away_s=3 * HOUR_S, back_s=6 * HOUR_S, end_s=8 * HOUR_S)


@functools.cache
def figures(policy: Policy) -> Figures:
    """What the collector sees; the seed makes it the same every time."""
    return outage(fleet_homes.USUAL, HOMES, policy, seed=7, times=TIMES)


def test_the_chosen_policy_keeps_the_peak_low() -> None:
    """At most twice the steady rate in any minute, and all that was held is delivered within an hour."""
    chosen = figures(CHOSEN)
    assert chosen.peak <= 2
    assert chosen.late == 0
    assert chosen.slowest_s <= HOUR_S


@pytest.mark.parametrize("policy", [NONE, FULL], ids=lambda policy: policy.name)
def test_the_backoff_alone_does_not(policy: Policy) -> None:
    """Without a pause a home brings everything at once, with jitter or without."""
    assert figures(policy).peak > 2.5


def test_without_a_last_try_some_wait_for_their_next_event() -> None:
    """A sidecar that ends between two tries leaves what it holds, though the collector is back."""
    assert figures(PAUSE).late > 0


def test_the_same_seed_gives_the_same_figures() -> None:
    """A figure can be repeated."""
    again = outage(fleet_homes.LAPTOPS, 200, CHOSEN, seed=7, times=TIMES)
    assert again == outage(fleet_homes.LAPTOPS, 200, CHOSEN, seed=7, times=TIMES)
