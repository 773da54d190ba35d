"""Promise 4 under chaos: half a minute of what ``chaos.py`` does for as long as one likes."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from tests.faults.chaos import run_and_tell

if TYPE_CHECKING:
    from pathlib import Path

# CHAOS_SEED makes a run again that is like the one that printed it; CHAOS_SECONDS makes it longer.
_SECONDS = 30


def test_half_a_minute_of_chaos_loses_nothing_and_doubles_nothing(home: Path) -> None:
    """Workloads and sidecars die and stop at random, the collector fails: each event arrives once."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    verdict = run_and_tell(home, float(os.environ.get("CHAOS_SECONDS") or _SECONDS), seed)
    assert not verdict.faults, "\n".join(verdict.faults)
    for name in ("events_acknowledged", "writers_killed", "sidecars_killed", "bodies_taken"):
        assert verdict.figures[name] > 0, f"no chaos at all: {name} is 0"
