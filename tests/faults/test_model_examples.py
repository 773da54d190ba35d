"""Sequences of steps that showed a defect once, as the model printed them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.faults import model
from tests.faults.model_world import ModelCollector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def state() -> Iterator[model.Model]:
    """Give a machine where locks work, and hold it to everything at its end."""
    with ModelCollector() as collector:
        machine = type("ModelLocksWork", (model.Model,), {"locks": "work", "collector": collector})()
        yield machine
        machine.teardown()


@pytest.mark.parametrize("at", range(14))
def test_a_look_at_a_settings_file_that_fails_leaves_no_descriptor(state: model.Model, at: int) -> None:
    """The file was open, and its kind could not be told: the descriptor stayed open."""
    state.fail(at=at, kinds=[], looks=True, number=errno.ENOSPC, pen=0, slot=0)
