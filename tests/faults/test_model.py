"""The model, tried as far as the suite has time for; the same steps every time. See `model.py`."""

import pytest
from hypothesis import settings

from tests.faults import model
from tests.support import strategies


@pytest.mark.parametrize("locks", model.LOCKS)
def test_the_model(locks):
    """In any order of steps no acknowledged event is lost, and no event counts twice."""
    model.run(locks, settings(strategies.tried(20), stateful_step_count=30, print_blob=False))
