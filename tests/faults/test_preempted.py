"""A sidecar is stopped between any two system calls while another works from beginning to end.

They do not know of each other: their locks are pretended. Every point at which the first one looks or
changes something is taken, or every k-th from an offset that is drawn; all of them with `KILLS_EVERY=1`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dying import Lives
from tests.support.kills import ONCE, SIDECAR, Scenario, at_every_point, each_once_unlocked, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNLOCKED = "import fcntl\nfcntl.flock = lambda *_: None\n" + ONCE
BOTH: dict[str, Any] = {"code": UNLOCKED, "meanwhile": UNLOCKED, "judge": each_once_unlocked}
SCENARIOS = {
    "plain": Scenario(**BOTH, every=15),
    "split": Scenario(refuse(5), **BOTH, every=40),
    "first-member-refused": Scenario(refuse(0), **BOTH, every=40),
    "adopted": Scenario(**BOTH, host_of="elsewhere", every=20),
}


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    """Give sidecars that stop where they are told to."""
    with Lives(*SIDECAR) as running:
        yield running


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_works_while_one_is_stopped(lives: Lives, tmp_path: Path, name: str) -> None:
    """What the one had begun the other finishes, and the one lets go: each event counts once."""
    scenario = SCENARIOS[name]
    assert at_every_point(lives, scenario, tmp_path / "homes", "pause") >= 150 // scenario.step()
