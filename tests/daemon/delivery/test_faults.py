"""Local faults: a step that fails delays itself alone."""

import math

import pytest

from flwr_telemetry.settings_file import Limits
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.faults import LocalFaults
from flwr_telemetryd.errors import LostRaceError
from flwr_telemetryd.state import State


class Bench:
    def __init__(self):
        self.now_s, self.ran, self.state = 100.0, [], State()
        clock = Clock(monotonic=lambda: self.now_s, random=lambda: 1.0)
        self.faults = LocalFaults(clock, self.state, lambda: Limits(backoff_s=4, backoff_max_s=900))

    def run(self, name, error=None):
        def step():
            self.ran.append(name)
            if error is not None:
                raise error
            return "result"

        return self.faults.run(name, step, "default")


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ZeroDivisionError()], ids=repr)
def test_a_step_that_fails_waits_and_delays_no_other(bench, error):
    assert bench.run("seal", error) == "default"
    assert bench.state.last_error.startswith("seal: ")
    assert bench.faults.blocks_delivery()
    assert (bench.run("seal"), bench.run("take")) == ("default", "result")
    bench.now_s += 4
    assert (bench.run("seal"), bench.ran) == ("result", ["seal", "take", "seal"])


def test_the_oldest_fault_counts_until_its_step_succeeds(bench):
    assert bench.faults.since() == math.inf
    bench.run("one", OSError())
    bench.now_s += 9
    bench.run("two", OSError())
    assert bench.faults.since() == 100
    bench.run("one")
    assert bench.faults.since() == 109


def test_a_lost_race_is_no_fault(bench):
    """A request for delivery ends the waits of faults."""
    for name, error in (("batch 1", LostRaceError("1")), ("seal", OSError())):
        assert bench.run(name, error) == "default"
    assert bench.run("batch 1") == "result"
    bench.faults.reset()
    assert bench.run("seal") == "result"


def test_a_fault_whose_step_is_not_run_any_more_is_forgotten(bench):
    """That of a batch does not block the delivery meanwhile."""
    for name, blocks in (("batch 1", False), ("delivery", True)):
        bench.run(name, OSError())
        assert bench.faults.blocks_delivery() is blocks
    bench.faults.end_pass()
    assert bench.faults.since() == 100
    bench.faults.end_pass()
    assert bench.faults.since() == math.inf
