"""Death or a stop of `forget` between any two system calls; `test_kills.py` says how the points are found."""

from dataclasses import replace

import pytest

from tests.support import homes, kills, records
from tests.support.dying import Forks
from tests.support.kills import ONCE, Scenario

GONE = "77777777-6bd5-4d6b-8a3c-6f2f60f0c9d1"
GONE_NUMBERS = range(50, 60)
FORGET = f"""
import os, sys
from pathlib import Path
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin import forget
from flwr_telemetryd.clock import Clock

home, now = Home(Path(os.environ["FLWR_HOME"])), [0.0]
clock = Clock(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
erased, problems = forget.forget_id(home, {GONE!r}, clock)
if not problems:
    forget.finish(home)
sys.exit(bool(problems))
"""

UNLOCKED = "import fcntl\nfcntl.flock = lambda *_: None\n"


def put_mixed(home, host_of):
    """Put events of another ID into each segment, and into one of their own."""
    kills.put_events(home, host_of)
    numbers = iter(GONE_NUMBERS)

    def of_the_id(count):
        events = [records.sample({"n": next(numbers)}, source=GONE) for _ in range(count)]
        return b"".join(map(records.encode, events))

    for path in homes.telemetry(home).glob("*/spool/*.msgpack"):
        with path.open("ab") as segment:
            segment.write(of_the_id(2))
    homes.put_bytes(home, of_the_id(3), name="sealed-0000000000000000009-00000009.msgpack", host_of=host_of)


def _others(outcome):
    """Of the ID each event may have been sent once before its hash was noted; what came of the others."""
    gone = [number for number in outcome.numbers if number in GONE_NUMBERS]
    assert len(gone) == len(set(gone))
    return replace(outcome, numbers=[number for number in outcome.numbers if number in kills.NUMBERS])


def others_once_unlocked(outcome):
    """Every event counts once. A sidecar that is stopped amid its append to the archive may lose a line."""
    kills.each_once_unlocked(replace(_others(outcome), unarchived=set()))


@pytest.fixture(scope="module")
def forks():
    """Give processes that die where they are told to."""
    with Forks(*kills.SIDECAR, "flwr_telemetryd.admin.forget") as running:
        yield running


SCENARIOS = {
    "run-again": Scenario(code=FORGET, put=put_mixed, again=FORGET, every=8),
    "run-again-of-another-host": Scenario(
        code=FORGET, put=put_mixed, again=FORGET, host_of="elsewhere", every=10
    ),
    "not-run-again": Scenario(
        code=FORGET, put=put_mixed, judge=lambda outcome: kills.each_once(_others(outcome)), every=10
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_death_between_any_two_calls(forks, tmp_path, name):
    """The next call, or the next sidecar, finds every event of other IDs once."""
    scenario = SCENARIOS[name]
    assert kills.at_every_point(forks, scenario, tmp_path / "homes") >= 20 // scenario.step()


@pytest.mark.parametrize(("code", "meanwhile"), [(FORGET, ONCE), (ONCE, FORGET)], ids=["forget", "sidecar"])
def test_stopped_between_any_two_calls(forks, tmp_path, code, meanwhile):
    """One is stopped and the other runs to its end; their locks are pretended, so each has the host's."""
    scenario = Scenario(
        code=UNLOCKED + code,
        meanwhile=UNLOCKED + meanwhile,
        put=put_mixed,
        judge=others_once_unlocked,
        again=FORGET,
        every=40,
    )
    assert kills.at_every_point(forks, scenario, tmp_path / "homes", "pause") >= 100 // scenario.step()
