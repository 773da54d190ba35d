"""A sidecar is stopped between any two system calls while another works from beginning to end.

They do not know of each other: their locks are pretended. Every point at which the first one looks or
changes something is taken, or every k-th from an offset that is drawn; all of them with `KILLS_EVERY=1`.
"""

import pytest

from tests.support.kills import ONCE, Scenario, at_every_point, each_once_unlocked, refuse

UNLOCKED = "import fcntl\nfcntl.flock = lambda *_: None\n" + ONCE
BOTH = {"code": UNLOCKED, "meanwhile": UNLOCKED, "judge": each_once_unlocked}
SCENARIOS = {
    "plain": Scenario(**BOTH, every=15),
    "split": Scenario(refuse(5), **BOTH, every=40),
    "first-member-refused": Scenario(refuse(0), **BOTH, every=40),
    "adopted": Scenario(**BOTH, host_of="elsewhere", every=20),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_works_while_one_is_stopped(lives, tmp_path, name):
    """The other finishes the work of the stopped one, which then gives it up: each event counts once."""
    scenario = SCENARIOS[name]
    assert at_every_point(lives, scenario, tmp_path / "homes", "pause") >= 150 // scenario.step()
