"""Backoff and jitter: the bounds of the waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.delivery.backoff import backoff_s, jitter
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
