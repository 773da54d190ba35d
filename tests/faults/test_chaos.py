"""Promise 4 under chaos: some seconds of what ``chaos.py`` does for as long as one likes."""

import os
import random

import pytest

from tests.faults.chaos import run_and_tell

# CHAOS_SEED makes a run again that is like the one that printed it; CHAOS_SECONDS makes it longer.
_SECONDS = 12


@pytest.mark.long
def test_some_seconds_of_chaos_lose_nothing_and_double_nothing(home):
    """Workloads and sidecars die and stop at random, the collector fails: each event arrives once."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    figures, faults = run_and_tell(home, float(os.environ.get("CHAOS_SECONDS") or _SECONDS), seed)
    assert not faults, "\n".join(faults)
    for name in ("events_acknowledged", "writers_killed", "sidecars_killed", "bodies_taken"):
        assert figures.get(name), f"no chaos at all: {name} is 0"
