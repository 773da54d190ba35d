"""Promise 4: nothing accepted is lost and nothing counts twice, whenever a process dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import homes, processes, records, wire
from tests.support.collector import Answer, Reply, Request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import Collector


def _settle(home: Path, collector: Collector, numbers: list[int]) -> None:
    """Deliver what is left: all of these events are there, and each counts once."""
    processes.deliver(home, times=5)
    assert wire.serials(collector.events()) == numbers
    assert homes.unsent_files(home) == []


def test_kill_at_random_moments(home: Path, collector: Collector) -> None:
    """A sidecar killed at many random moments of its round loses nothing and doubles nothing."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201
    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(10))
    began_s = time.monotonic()
    processes.deliver(home)
    round_s = time.monotonic() - began_s
    answers: list[Reply] = [200, 200, 200, 503, Answer(manner="close", took=True)]
    collector.answer_by(lambda _request: chance.choice(answers))
    count = 10
    for _ in range(20):
        processes.spool_events(home, 10, start_at=count)
        count += 10
        victim = processes.start_once(home)
        try:
            victim.wait(round_s * chance.uniform(0.3, 1.2))
        except subprocess.TimeoutExpired:
            victim.kill()
            victim.wait()
    collector.answer_by(lambda _request: 200)
    _settle(home, collector, list(range(count)))


@pytest.mark.parametrize("moment", ["work/*", "work/*/*.json", "outbox/*/*.json", "sent/*", "spool/sealed-*"])
def test_kill_at_a_stage(home: Path, collector: Collector, moment: str) -> None:
    """A sidecar killed as soon as a stage's first file is seen leaves everything to the next one."""
    homes.configure(home, collector.url, bursts=False)
    for start in (0, 60):
        homes.put(home, records.series(60, start=start))
        victim = processes.start_once(home)
        while victim.poll() is None:
            if homes.find(homes.host(home), moment):
                victim.kill()
        victim.wait()
    _settle(home, collector, list(range(120)))


@pytest.mark.parametrize("took", [True, False], ids=["taken", "not taken"])
def test_kill_amid_requests(home: Path, collector: Collector, took: bool) -> None:
    """A sidecar that dies while a request is under way sends that body again under the same key."""

    def murder(request: Request) -> Reply:
        number = len(collector.requests)
        if number in (2, 5, 9, 12):
            for pid in processes.sidecars(home):
                os.kill(pid, signal.SIGKILL)
            return Answer(manner="close", took=took)
        assert request.key
        return 200

    homes.configure(home, collector.url, bursts=False)
    homes.put(home, records.series(20))
    collector.answer_by(murder)
    for _ in range(4):
        processes.once(home)
    _settle(home, collector, list(range(20)))


def test_kill_amid_the_split_of_a_burst(home: Path, collector: Collector) -> None:
    """A sidecar that dies between the members of a refused burst doubles none and loses none."""

    def murder(request: Request) -> Reply:
        if len(collector.requests) in (1, 3, 6):
            for pid in processes.sidecars(home):
                os.kill(pid, signal.SIGKILL)
            return Answer(manner="close", took=b'"burst":' not in request.body)
        return 422 if b'"burst":' in request.body else 200

    homes.configure(home, collector.url)
    homes.put(home, records.series(12))
    collector.answer_by(murder)
    for _ in range(3):
        processes.once(home)
    _settle(home, collector, list(range(12)))


def test_kill_of_sidecars_on_demand(home: Path, collector: Collector) -> None:
    """Sidecars that events start and that are killed at random lose nothing either."""
    chance = random.Random()
    homes.configure(home, collector.url)
    for number in range(10):
        assert processes.emit(home, start_at=number) == ["spooled"]
        moment_s = time.monotonic() + chance.uniform(0, 0.7)
        while time.monotonic() < moment_s and len(collector.events()) <= number:
            time.sleep(0.005)
        for pid in processes.sidecars(home):
            processes.kill(pid)
    _settle(home, collector, list(range(10)))


def test_a_workload_killed_amid_its_events_tears_nothing(home: Path, collector: Collector) -> None:
    """Workloads killed while they emit leave whole records only, and all they told of is delivered."""
    homes.configure(home, collector.url)
    code = """
n = int(sys.argv[1])
while True:
    assert outcome(event("PING", {"n": n})) == "spooled"
    os.write(1, b"%d\\n" % n)
    n += 1
"""
    told: set[int] = set()
    for turn in range(5):
        start = turn * 1_000_000
        child = processes.start(
            home,
            ["-c", processes.PRELUDE + code, str(start)],
            processes.NEVER,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(10 + 37 * turn)]
        child.kill()
        rest, _ = child.communicate()
        told |= {*seen, *map(int, rest.split())}
    assert {event["event_details"]["n"] for event in homes.spooled(home)} >= told
    processes.deliver(home)
    numbers = wire.serials(collector.events())
    assert set(numbers) >= told
    assert len(numbers) == len(set(numbers))
