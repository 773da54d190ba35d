"""The model, tried as far as the suite has time for, and sequences of steps that once showed a defect.

`MODEL_EXAMPLES=5000 MODEL_SEED=7` tries as many as it is told, and others with each seed.
"""

import errno
import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from tests.faults import model
from tests.support import strategies
from tests.support.collector import Collector

EXAMPLES, SEED = int(os.environ.get("MODEL_EXAMPLES", "20")), os.environ.get("MODEL_SEED")


@pytest.mark.parametrize("locks", model.LOCKS)
def test_the_model(locks):
    """In any order of steps no acknowledged event is lost, and no event counts twice."""
    machine = type(f"ModelLocks{locks.capitalize()}", (model.Model,), {"locks": locks})
    chosen = settings(strategies.tried(EXAMPLES), stateful_step_count=30, print_blob=False)
    if SEED is not None:
        chosen = settings(
            chosen,
            derandomize=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
    with Collector() as machine.collector:
        test = get_state_machine_test(machine, settings=chosen)
        (test if SEED is None else seed(int(SEED))(test))()


@pytest.fixture
def state():
    """Give a machine where locks work, and hold it to everything at its end."""
    with Collector() as collector:
        machine = type("ModelLocksWork", (model.Model,), {"locks": "work", "collector": collector})()
        yield machine
        machine.teardown()


@pytest.mark.parametrize("at", range(14))
def test_a_look_at_a_settings_file_that_fails_leaves_no_descriptor(state, at):
    """The file was open, and its kind could not be told: the descriptor stayed open."""
    state.fail(at=at, kinds=[], looks=True, number=errno.ENOSPC, pen=0, slot=0)


def test_what_comes_to_a_segment_while_a_cap_takes_it_is_counted(state):
    """A stopped writer wrote after the events were counted and before the unlink: one was gone uncounted."""
    event = (0, 0, 0, 1, 0)
    state.emit(pen=1, kinds=[event])
    state.emit_until(pen=0, kinds=[event], what="stop", at=0, looks=False, torn=0)
    state.crash(pen=1, kinds=[], slot=0, at=2, torn=0)  # it has sealed, and taken nothing
    state.set(setting=("spool_max_days", 1))
    state.step_clocks(shift_s=2 * model.DAY_S, to_ns=0)
    state.stop(pen=1, kinds=[], slot=0, at=1, looks=False)  # it has counted, and unlinked nothing
    state.go_on(number=1, more=None, looks=False)
    state.go_on(number=0, more=None, looks=False)
