"""All processor time of one workload, from 1 to 1000 events, until they are delivered over TLS.

Ours is that of the emitter and of the whole life of the sidecar, by default. A supervisor waits for each
process that a contender leaves behind. What a program costs before it reports, and at its end without a
report, is not counted: the start of Python, and of Flower where it is installed. The import of a peer is
counted. The home had an event before, and its machine was not started since.

A sidecar waits a minute for further events before it ends. The next contenders run in that minute.
"""

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tests.benchmarks.bench import PROGRAMS
from tests.benchmarks.figures import Figure, Target, number
from tests.benchmarks.peers import OURS

FLOWER = "flwr-1.42"
FLOOR = "a Python that sends one request over TLS"
FLOORS = {
    FLOOR: [str(PROGRAMS / "requesting.py")],
    "a Python that does nothing": ["-c", ""],
}
SLOW = {"iterative-telemetry": 50}  # it starts a Python for each event
PAUSE_S = 180
IDLE_EXIT_S = 12  # more than `respawn_s`, so that the next event starts a sidecar
_POLL_S = 0.02


class Case(NamedTuple):
    """A workload."""

    events: int
    rounds: tuple[int, int]
    """Those of a whole run and of ``--quick``."""
    targets: dict[str, Target] = {}  # noqa: RUF012 - of a named tuple
    """By the peer's name."""
    mode: str = "alone"

    @property
    def what(self):
        if self.mode == "apart":
            return f"{self.events} events of a deployment, 8 processes"
        return f"{self.events} events of one process" if self.events > 1 else "1 event"


def _at_most(text, most, *names):
    return dict.fromkeys(names, Target(text, "ratio", at_most=most))


CASES = (
    Case(2, (5, 2), _at_most("≤ 1 times, then ≤ 0.7", 1, FLOWER)),
    Case(10, (5, 2), _at_most("≤ 0.5 times", 0.5, FLOWER)),
    Case(38, (2, 1), _at_most("≤ 0.2 times", 0.2, FLOWER), mode="apart"),
    Case(1000, (2, 1), _at_most("≤ 1/200", 1 / 200, FLOWER, "flwr-1.41")),
    *(Case(events, (1, 0)) for events in (1, 5, 50, 200)),  # for the plot
)


def measure(bench):
    """Each case beside every peer and the floors; and two events that are minutes apart, beside Flower's."""
    with contextlib.ExitStack() as stack:
        later = stack.enter_context(bench.aside(_minutes_apart))
        homes = _Homes(bench, bench.everybody(), stack)
        cases = [case for case in CASES if bench.pick(*case.rounds)]
        begun = [(case, _begin(bench, homes, case)) for case in cases]
        ended = [(case, {one: [run.end() for run in runs] for one, runs in of.items()}) for case, of in begun]
        for case, told in ended:
            yield from _figures(bench, homes, case, told)
        yield from later.result()
    for one in bench.missing:
        yield Figure("lone", CASES[0].what, one.title, "ms", (), note=one.why_missing)


class _Run:
    """A command below a supervisor, which waits for all that the command leaves behind."""

    def __init__(self, bench, command, home):
        words = [sys.executable, str(PROGRAMS / "supervise.py"), *command]
        self._bench, self._what = bench, " ".join(command[:6])
        self._told = None
        self._process = subprocess.Popen(
            words, env=bench.environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, events):
        """Wait until so many events have arrived."""
        while self._bench.collector.ask().events < events:
            if self._process.poll() is not None and self._bench.collector.ask().events < events:
                out, error = self._process.communicate()
                raise RuntimeError(
                    f"{self._what}: not all {events} events have arrived: {out}{error[-2000:]}"
                )
            time.sleep(_POLL_S)

    def end(self):
        """Wait for the end of all its processes; their times."""
        if self._told is None:
            out, error = self._process.communicate()
            self._told = json.loads(out) if out else {"failed": True}
            if self._told["failed"]:
                raise RuntimeError(f"{self._what} failed: {error[-2000:]}")
        return self._told


def _begun(bench, one, events, mode, home, *pause):
    """Start a contender, and wait until its events have arrived."""
    bench.collector.ask("reset")
    run = _Run(bench, bench.command(one, events, mode, *pause), home)
    run.wait_for(events)
    return run


class _Homes:
    """The homes of the contenders, each of which had an event before.

    A peer has one. Ours has a copy of one for each run, because the last run's sidecar may still be there.
    """

    def __init__(self, bench, everybody, stack):
        self._bench, self._stack, self._idle_ms = bench, stack, {}
        self._kept = bench.directory / "used"
        with bench.place(idle_exit_s=IDLE_EXIT_S) as home:
            _begun(bench, OURS, 1, "alone", home).end()
            shutil.copytree(home / ".flwr", self._kept, ignore=shutil.ignore_patterns("config.toml"))
        self._of_peers = {one: stack.enter_context(bench.place()) for one in everybody if one is not OURS}
        for one, home in self._of_peers.items():
            _begun(bench, one, 1, "alone", home).end()

    def of(self, one, mode):
        """A home for a contender, after a run without an event in it."""
        home = self._of_peers.get(one) or self._stack.enter_context(self._bench.place())
        if one is OURS:
            shutil.copytree(self._kept, home / ".flwr", dirs_exist_ok=True)
        without = _begun(self._bench, one, 0, mode, home).end()
        self._idle_ms.setdefault((one, mode), []).append(1e3 * (without["first_s"] - without["before_s"]))
        return home

    def net_ms(self, one, mode, told):
        """The milliseconds from where a program began to report, and of all that it left behind."""
        busy_s = told["first_s"] - told["before_s"] + sum(told["others_s"])
        return 1e3 * busy_s - statistics.median(self._idle_ms[one, mode])


def _begin(bench, homes, case):
    """Begin the runs of a case, by contender."""

    def begin(one):
        return _begun(bench, one, case.events, case.mode, homes.of(one, case.mode))

    everybody = [one for one in bench.everybody() if case.events <= SLOW.get(one.name, case.events)]
    measures = {one: partial(begin, one) for one in everybody}
    measures |= {name: partial(_floor, bench, name) for name in FLOORS}
    return bench.in_turn(bench.pick(*case.rounds), case.what, measures)


def _floor(bench, name):
    command = [str(OURS.python), "-I", "-S", *FLOORS[name]]
    with bench.place() as home:
        run = _Run(bench, [*command, bench.collector.origin, bench.collector.store], home)
        run.end()
    return run


def _figures(bench, homes, case, told):
    floors = {name: tuple(1e3 * one["first_s"] for one in told.pop(name)) for name in FLOORS}
    net = {one: tuple(homes.net_ms(one, case.mode, each) for each in runs) for one, runs in told.items()}
    for name, floor in floors.items():
        yield Figure("lone", case.what, name, "ms", net[OURS], floor)
    why = _why({one.name: statistics.median(ms) for one, ms in net.items()}, statistics.median(floors[FLOOR]))
    for figure in bench.against_peers("lone", case.what, "ms", net, targets=case.targets, why=why):
        yield replace(figure, size=case.events if case.mode == "alone" else 0)


def _why(ms, floor_ms):
    if FLOWER not in ms:
        return ""
    floor, flower, ours = number(floor_ms), number(ms[FLOWER]), number(ms[OURS.name])
    return (
        f"Another process that delivers is at least {FLOOR}, which alone took {floor} ms, beside {flower} ms "
        f"of flwr 1.42 in all and {ours} ms of ours."
    )


def _minutes_apart(bench):
    """Two events of one process with a pause between them, ours and Flower's at the same time."""
    everybody, what = bench.everybody(FLOWER), f"2 events, {PAUSE_S / 60:g} minutes apart"
    with contextlib.ExitStack() as stack:
        homes = _Homes(bench, everybody, stack)
        places = {one: homes.of(one, "alone") for one in everybody}
        bench.collector.ask("reset")
        runs = {
            one: _Run(bench, bench.command(one, 2, "alone", PAUSE_S), home) for one, home in places.items()
        }
        for run in runs.values():
            run.wait_for(2 * len(runs))
        net = {one: (homes.net_ms(one, "alone", run.end()),) for one, run in runs.items()}
    return list(bench.against_peers("lone", what, "ms", net))
