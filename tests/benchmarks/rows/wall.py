"""How long a workload takes before a collector that never answers, over the same with telemetry off.

The workload imports flwr, reports, does a fixed amount of work, reports, and ends by ``flwr_exit``. Through
us it is run by ``flwr-telemetry run``, with telemetry on and off; Flower's own telemetry is in the peers'
environments. The collector accepts every request.
"""

import subprocess
import time
from dataclasses import dataclass

from tests.benchmarks.bench import PROGRAMS, tell
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.peers import OURS
from tests.e2e import sides

PROGRAM = str(PROGRAMS / "by_workload.py")
TARGET = Target("≤ 1.01 times", "ratio", at_most=1.01)


@dataclass(frozen=True, slots=True)
class Way:
    """How a workload is run: by whom, to where, how often, and which part of the row that is."""

    title: str
    command: tuple[str, ...]
    origin: str
    rounds: int
    share: float


def measure(bench):
    """In turn with telemetry off and on, of each way by itself."""
    work_s = bench.pick(10, 2)
    with bench.place() as home:
        hashes = work_s * tell([str(OURS.python), PROGRAM, "-", "-"], bench.environment(home))
    bench.collector.ask("hang")
    try:
        for way in _ways(bench):
            off, on = [], []
            for _ in bench.turns(way.rounds, f"a collector that never answers, {way.title}", share=way.share):
                off.append(_wall_s(bench, way, hashes, "0"))
                on.append(_wall_s(bench, way, hashes, "1"))
            target = TARGET if way.origin == "-" else None
            what = f"wall time of {work_s} s of work, {way.title}"
            yield Figure("wall", what, "telemetry off", "s", tuple(on), tuple(off), target)
    finally:
        bench.collector.ask("answer")


def _ways(bench):
    flower = ".".join(map(str, sides.RELEASE))
    ours = (*sides.OURS, str(OURS.python))
    yield Way(f"through us (flwr {flower})", ours, "-", bench.pick(7, 2), 0.4)
    rounds = {"flwr-1.41": bench.pick(3, 1), "flwr-1.27": 1}
    for one in bench.contenders:
        if one.name in rounds:
            yield Way(one.title, (str(one.python),), bench.collector.origin, rounds[one.name], 0.3)


def _wall_s(bench, way, hashes, enabled):
    """Seconds to the end, good or bad: 1.27 raises the timeout out of ``flwr_exit``."""
    with bench.place() as home:
        environment = bench.environment(home, FLWR_TELEMETRY_ENABLED=enabled)
        begin = time.perf_counter()
        subprocess.run(
            [*way.command, PROGRAM, way.origin, str(hashes)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return time.perf_counter() - begin
