"""Sequences of steps that once showed a defect, as the model printed them."""

import errno

import pytest

from tests.faults import model
from tests.support.collector import Collector


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
