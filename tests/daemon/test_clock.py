"""Time without the steps of a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flwr_telemetryd.clock import Clock, SteadyTime
from tests.support import strategies

steps = st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e9, 1e9)), max_size=20)


@strategies.tried(100)
@given(steps)
def test_no_more_time_passes_than_the_monotonic_clock_tells(taken):
    """For all steps of the clock; nor is it ahead of the file system."""
    now, elapsed = 1.8e9, 0.0
    time = SteadyTime(lambda: now, lambda: elapsed)
    told = [time()]
    for passed_s, set_by_s in taken:
        elapsed += passed_s
        now += passed_s + set_by_s
        told.append(time())
        assert told[-1] - told[-2] <= passed_s + 1e-3
        assert told[-1] <= now


def test_a_step_forward_and_back_leaves_no_trace():
    now, elapsed = 1000.0, 0.0
    time = SteadyTime(lambda: now, lambda: elapsed)
    assert time() == 1000
    now, elapsed = 9_000_010.0, 10.0
    assert time() == 1010
    now, elapsed = 1020.0, 20.0
    assert time() == 1020


@pytest.mark.parametrize("time_ns", [-(10**18), 0, 10**18, 2**63 - 1])
def test_every_time_has_a_date(time_ns):
    assert Clock(time_ns=lambda: time_ns).now().year >= 1970
