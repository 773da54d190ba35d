"""SIGKILL, or SIGSTOP, between any two system calls of a sidecar: nothing is lost, nothing counts twice.

Every scenario runs once for every call that changes something: the sidecar dies just before that
call (or in the middle of it, where it is a write), the next ones run undisturbed, and the collector is
asked. A stopped one goes on after another has worked from beginning to end.
The points are found by trial: a fork that reaches its end before its point has passed the last one.
Where that takes long, every k-th point is taken, from an offset that is drawn and printed. With
`KILLS_EVERY=1` all of them are; CI takes every eighth.
"""

import random

import pytest

from tests.support import homes, processes, records
from tests.support.collector import Answer
from tests.support.kills import (
    LARGEST,
    NUMBERS,
    ONCE,
    Round,
    Scenario,
    at_every_point,
    each_once_unlocked,
    put_events,
    refuse,
)


def take_and_close():
    """Accept each body, and close the connection instead of the first answer to it."""
    seen = set()

    def decide(request):
        known = request.key in seen
        seen.add(request.key)
        return 200 if known else Answer(manner="close", took=True)

    return decide


def drops_are_counted(outcome):
    """Nothing is delivered twice; what is missing was dropped, and one file at most was counted in vain."""
    assert len(outcome.numbers) == len(set(outcome.numbers))
    missing = len(NUMBERS) - len(outcome.numbers)
    assert missing <= outcome.dropped <= missing + LARGEST * outcome.deaths


def late_append(name, step):
    """Give the code of a fork in which a writer without the lock appends just before a step of a module."""
    late = records.encode(records.sample({"n": 100}))
    return f"""
import glob, os, sys
from flwr_telemetryd.outbox import {name}

real = {name}.{step}

def then(*arguments, **options):
    {name}.{step} = real
    death = sys.getprofile()
    sys.setprofile(None)  # these are another's calls
    (segment,) = glob.glob(os.environ["FLWR_HOME"] + "/telemetry/*/*/*/sealed-*1-00000001*.taken")
    descriptor = os.open(segment, os.O_WRONLY | os.O_APPEND)
    assert os.write(descriptor, {late!r})
    tell(told=100)
    sys.setprofile(death)
    return real(*arguments, **options)

{name}.{step} = then
{ONCE}"""


SCENARIOS = {
    "plain": Scenario(every=8),
    "split": Scenario(refuse(5), every=24),
    "first-member-refused": Scenario(refuse(0), every=24),
    "taken-but-not-answered": Scenario(take_and_close, every=24),
    "grown-before-the-commit": Scenario(code=late_append("batch", "commit"), every=16),
    "grown-before-the-discard": Scenario(code=late_append("discard", "discard"), every=16),
    "caps": Scenario(settings={"spool_max_mib": 0.0015}, judge=drops_are_counted, every=12),
    "caps-amid-a-split": Scenario(refuse(5), {"spool_max_mib": 0.004}, judge=drops_are_counted, every=32),
    "adopted": Scenario(host_of="elsewhere", every=16),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_death_between_any_two_calls(forks, tmp_path, name):
    """A sidecar dies before, or in the middle of, any call; the next ones deliver every event once."""
    scenario = SCENARIOS[name]
    assert at_every_point(forks, scenario, tmp_path / "homes") >= 40 // scenario.step()


@pytest.mark.parametrize("name", ["split", "caps"])
def test_deaths_upon_deaths(forks, tmp_path, name):
    """Sidecars that die one after the other, each in what the one before left, lose and double nothing."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201
    for number in range(5):
        points = [chance.randrange(60) for _ in range(8)]
        home = tmp_path / f"{number}" / ".flwr"
        assert Round(forks, SCENARIOS[name], home).run(*points, what="tear")


def test_death_amid_a_purge(forks, home):
    """A sidecar that dies while it deletes what was not sent leaves nothing that the next does not delete."""
    env = processes.environment(home)
    point = 0
    while True:
        put_events(home)
        homes.write_settings(home, "enabled = false\n")
        died = forks.run(ONCE, env, at=point).struck
        ended = forks.run(ONCE, env)
        assert (ended.status, ended.errors.count("\n")) == (3, 1), ended
        assert [path.name for path in homes.host(home).iterdir()] == []
        if not died:
            break
        point += 1
    assert point > 5


# They do not know of each other: their locks are pretended.
UNLOCKED = "import fcntl\nfcntl.flock = lambda *_: None\n" + ONCE
BOTH = {"code": UNLOCKED, "meanwhile": UNLOCKED, "judge": each_once_unlocked}
PAUSED = {
    "plain": Scenario(**BOTH, every=30),
    "split": Scenario(refuse(5), **BOTH, every=80),
    "first-member-refused": Scenario(refuse(0), **BOTH, every=80),
    "adopted": Scenario(**BOTH, host_of="elsewhere", every=40),
}


@pytest.mark.parametrize("name", PAUSED)
def test_another_works_while_one_is_stopped(forks, tmp_path, name):
    """The other finishes the work of the stopped one, which then gives it up: each event counts once."""
    scenario = PAUSED[name]
    assert at_every_point(forks, scenario, tmp_path / "homes", "pause") >= 150 // scenario.step()
