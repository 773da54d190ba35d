"""SIGKILL, or SIGSTOP, between any two system calls of three events: what was told of is there."""

import os
import random
import shutil
import uuid

import pytest

from tests.support import homes, processes, wire
from tests.support.collector import Collector
from tests.support.dying import Forks
from tests.support.kills import ONCE, SIDECAR

WORKLOAD = ("flwr_telemetry.emitter", "importlib.metadata", "logging", "concurrent.futures", "subprocess")
EVENTS = """
from flwr_telemetry import event
for number in {}:
    assert event("PING", {{"n": number}}).result() == "spooled"
    tell(told=number)
"""
FIRST, NEXT = range(3), range(10, 12)
BUSY = 4


@pytest.fixture(scope="module")
def forks():
    with Forks(*SIDECAR, *WORKLOAD) as running:
        yield running


def emit(forks, home, numbers, point=None, *, sidecar="never", what="die", meanwhile=""):
    """Let a workload emit these events, and be struck at its point if it has one."""
    env = processes.environment(home, {"FLWR_TELEMETRY_SIDECAR": sidecar})
    fork = forks.run(EVENTS.format(numbers), env, at=point, what=what, meanwhile=meanwhile)
    if what == "pause" or not fork.struck:
        assert (fork.status, fork.told) == (0, list(numbers)), fork
    return fork


def deliver(forks, home):
    """Let sidecars run until everything is delivered."""
    status = BUSY
    while status == BUSY:
        status = forks.run(ONCE, processes.environment(home)).status
    assert status == 0
    assert homes.unsent_files(home) == []


def judge(home, told, collector):
    """All that was told of is there, each event once, and besides only the one that was under way."""
    events = collector.events()
    numbers = wire.serials(events)
    under_way = {next(number for number in (*FIRST, -1) if number not in told)}
    assert len(numbers) == len(set(numbers))
    assert told <= set(numbers) <= told | under_way
    source = (home / "source").read_text()
    assert str(uuid.UUID(source)) == source
    assert {event["context"]["source"] for event in events} == {source}


@pytest.mark.parametrize("sidecar", ["never", "auto"])
def test_death_between_any_two_calls_of_an_event(forks, tmp_path, sidecar):
    """A workload dies before, or in the middle of, any call; no event that was told of is lost."""
    point = 0
    what = "die"
    while True:
        home = tmp_path / "deep" / "er" / ".flwr"
        with Collector() as collector:
            if sidecar == "auto":  # in a home that has settings; else nothing may be sent anywhere yet
                home.parent.mkdir(parents=True)
                homes.configure(home, collector.url)
            first = emit(forks, home, FIRST, point, sidecar=sidecar, what=what)
            emit(forks, home, NEXT, sidecar=sidecar)
            homes.configure(home, collector.url)
            deliver(forks, home)
            processes.end_all(home)
        print(point, what, first.struck, first.told)  # noqa: T201
        judge(home, {*first.told, *NEXT}, collector)
        shutil.rmtree(tmp_path / "deep")
        if not first.struck:
            break
        what = "tear" if what == "die" and first.write else "die"
        point += what == "die"
    assert point > 10


@pytest.mark.long
@pytest.mark.parametrize(
    ("meanwhile", "least"), [(EVENTS.format(NEXT), 30), (ONCE, 20)], ids=["emits", "delivers"]
)
def test_another_process_works_while_a_workload_is_stopped(forks, home, meanwhile, least):
    """Another workload emits, or a sidecar delivers: each event counts once, under one source ID."""
    every = int(os.environ.get("KILLS_EVERY", "8"))
    point = random.SystemRandom().randrange(every)
    while True:
        with Collector() as collector:
            if meanwhile == ONCE:
                homes.configure(home, collector.url)
                emit(forks, home, NEXT)
            first = emit(forks, home, FIRST, point, what="pause", meanwhile=meanwhile)
            homes.configure(home, collector.url)
            deliver(forks, home)
        print(point, first.struck, first.told)  # noqa: T201
        if first.meanwhile is None:
            break
        assert first.meanwhile.status == 0
        assert meanwhile == ONCE or {*NEXT} <= set(first.meanwhile.told)
        judge(home, {*FIRST, *NEXT}, collector)
        shutil.rmtree(home)
        point += every
    assert point > least
