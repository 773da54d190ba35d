"""Rounds of deaths: lay out a home, die at a point of it, recover, and hold the world to promise 4."""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support import homes, processes, records, wire
from tests.support.collector import Answer, Collector, Reply, Request

Decide = Callable[[Request], Reply]


SIDECAR = ("flwr_telemetryd.sidecar.process", "flwr_telemetryd.delivery.http", "psutil", "encodings.idna")
ONCE = """
import sys
from flwr_telemetryd.__main__ import main
sys.exit(main(["--once"]))
"""
DAMAGE = [b"\0no record\x92\xce", records.encode(records.sample())[:-7]]
NUMBERS = list(range(9))
CLUSTER = "0b54bd9c-8f0a-4f0e-9d84-5c3d6a5e1f27"  # the same in every round: so are keys and their order
LARGEST = 6  # events of the largest body or segment that comes of them

_MOST_LIVES = 30
_UNTOUCHED_S = 700.0  # longer than another host's batch has to be left alone before it is taken over


def sealed(number):
    return f"sealed-{number:019d}-{number:08x}.msgpack"


def put_events(home, host_of=None):
    """Spool two bursts and a single event, in two sealed segments and an open one, with damage."""
    first, burst, second = (
        [records.encode(event) for event in records.series(count, start=start, cluster=CLUSTER, **fields)]
        for count, start, fields in ((4, 0, {}), (3, 4, {"event_type": "OTHER"}), (2, 7, {}))
    )
    single = records.encode(records.sample({"n": 4, "alone": True}, cluster=CLUSTER))
    start, end = b"".join([*first[:2], DAMAGE[0], *first[2:]]), b"".join([*second, DAMAGE[1]])
    homes.put_bytes(home, start, name=sealed(1), host_of=host_of)
    homes.put_bytes(home, b"".join([single, *burst[1:]]), name=sealed(2), host_of=host_of)
    homes.put_bytes(home, end, host_of=host_of)


@dataclass
class Outcome:
    """The result of a round."""

    numbers: list[int]
    """Of the events that were accepted or rejected."""
    told: set[int]
    """The events that forks reported, besides those that were spooled at the beginning."""
    dropped: int
    kept: list[bytes]
    """The damage that was kept, file by file."""
    unarchived: set[bytes]
    """Bodies that were accepted and are not in the archive."""
    deaths: int


def each_once(outcome):
    """Every event counts once, and the damage is kept as it was found."""
    assert outcome.numbers == sorted({*NUMBERS, *outcome.told})
    assert outcome.dropped == 0
    assert outcome.unarchived == set()
    assert sorted(outcome.kept) == sorted(DAMAGE)


def each_once_unlocked(outcome):
    """As `each_once`, but two sidecars may have quarantined the same damage twice."""
    for run in DAMAGE:
        assert any(kept.startswith(run) for kept in outcome.kept)
    each_once(replace(outcome, kept=DAMAGE))


@dataclass(frozen=True)
class Scenario:
    """The home that sidecars find, and the collector that they meet."""

    decide: Callable[[], Decide] = lambda: lambda _request: 200
    settings: dict[str, Any] = field(default_factory=dict)
    code: str = ONCE
    """The code of the forks that may be struck."""
    meanwhile: str = ONCE
    """The code of the fork that runs while another one is stopped."""
    host_of: str | None = None
    """The host whose spool it is; by default this one."""
    judge: Callable[[Outcome], None] = each_once
    put: Callable[[Path, str | None], None] = put_events
    again: str = ""
    every: int = 1
    """The suite takes each so many of the points."""

    def step(self):
        return int(os.environ.get("KILLS_EVERY", self.every))


def refuse(number):
    """Refuse bursts, and one event; take all others."""

    def decide(request):
        events = wire.expand(request.body)
        refused = len(events) > 1 or wire.serials(events) == [number]
        return Answer(422, body=b"no") if refused else 200

    return lambda: decide


class Round:
    """One home, which does not exist yet, and its collector."""

    def __init__(self, forks, scenario, home):
        self._forks = forks
        self._scenario = scenario
        self._home = home
        self._told = set()

    def run(self, *points, what="die"):
        """Let sidecars die at these points, one after the other, and others recover; give the deaths.

        A point is counted over all forks since the last death; one that is never reached is none.
        """
        self._home.parent.mkdir(parents=True)
        deaths = []
        with Collector() as collector:
            collector.answer_by(self._scenario.decide())
            homes.configure(self._home, collector.url, adopt_after_s=0, **self._scenario.settings)
            self._scenario.put(self._home, self._scenario.host_of)
            for point in points:
                if (death := self._die(point, what)) is None:
                    break
                deaths.append(death)
            self._recover()
        try:
            self._scenario.judge(self._look(collector, len(deaths)))
        except AssertionError as error:
            error.add_note(f"points {points}, {what}, deaths: {deaths}, home: {self._home}")
            raise
        shutil.rmtree(self._home)
        return deaths

    def _die(self, point, what):
        for _ in range(_MOST_LIVES):
            fork = self._run(self._scenario.code, point, what)
            if fork.struck:
                return fork
            if fork.status == 0:
                return None
            point -= fork.calls
        raise AssertionError(fork)

    def _recover(self):
        if self._scenario.again:
            fork = self._run(self._scenario.again)
            assert fork.status == 0, fork
        for _ in range(_MOST_LIVES):
            fork = self._run(ONCE)
            if fork.status == 0:
                return
        raise AssertionError(fork)

    def _run(self, code, point=None, what="die"):
        env = processes.environment(self._home)
        fork = self._forks.run(code, env, at=point, what=what, meanwhile=self._scenario.meanwhile)
        self._told |= set(fork.told)
        if what == "pause" or not fork.struck:
            assert fork.status in (0, 1), fork
        assert "Traceback" not in fork.errors, fork.errors
        if fork.meanwhile is not None:
            assert fork.meanwhile.status in (0, 1), fork
            assert "Traceback" not in fork.meanwhile.errors, fork
        if self._scenario.host_of is not None:
            for batch in homes.host(self._home, self._scenario.host_of).glob("work/*"):
                homes.age(batch, _UNTOUCHED_S)
        return fork

    def _look(self, collector, deaths):
        """Hold what is left to what is always true, and give what the scenario has to judge."""
        rooms = homes.telemetry(self._home)
        assert homes.unsent_files(self._home) == []
        rejected = list(rooms.glob("*/rejected/*.json"))
        assert [path for path in rejected if not path.with_suffix(".reason.txt").exists()] == []
        told = collector.events() + wire.expand_all(path.read_bytes() for path in rejected)
        archived = b"".join(path.read_bytes() for path in rooms.glob("*/sent/????-??-??.jsonl")).splitlines()
        return Outcome(
            numbers=wire.serials(told),
            told=self._told,
            dropped=sum(path.stat().st_size for path in rooms.glob("*/dropped")),
            kept=[path.read_bytes() for path in rooms.glob("*/damaged/*")],
            unarchived=set(collector.accepted.values()) - set(archived),
            deaths=deaths,
        )


def at_every_point(forks, scenario, directory, what="die"):
    """Live a round for every point of a scenario, or each so many; give how many were reached."""
    every = scenario.step()
    point = random.SystemRandom().randrange(every)
    print(f"from {point}, each {every}")  # noqa: T201
    reached = 0
    while struck := Round(forks, scenario, directory / f"{point}" / ".flwr").run(point, what=what):
        print(point, struck[0].struck)  # noqa: T201
        reached += 1
        if what == "die" and struck[0].write > 1:
            Round(forks, scenario, directory / f"{point}-torn" / ".flwr").run(point, what="tear")
        point += every
    return reached
