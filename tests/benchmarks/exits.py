"""What telemetry adds to the wall time of a Flower program: ``python -m tests.benchmarks.exits``.

One program is what each of Flower's commands comes to: it reports that it starts, and ends by ``flwr_exit``,
which reports that and waits. The other is a whole simulation. In turn, before a collector that never answers:
with telemetry off, through us, and by Flower itself (once, for that may take two minutes). The figures are
medians with their spread, and differences and ratios to the run with telemetry off, in the same run, for the
Flower that is installed. (Ray waits in steps of a second, so that a simulation's time has two peaks.)
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e import sides
from tests.e2e.test_ends import FLWR_EXIT
from tests.e2e.test_simulation import SIMULATION
from tests.support.collector import Collector

if TYPE_CHECKING:
    from tests.e2e.sides import Side

PROGRAM = f"""
from flwr.common import EventType, event
event(EventType.PING)
{FLWR_EXIT}
"""

# How often each is run, but by Flower itself.
PROGRAMS = {"flwr_exit": (("-c", PROGRAM), 9), "a simulation": ((SIMULATION,), 9)}


def wall_s(one: Side, *words: str) -> float:
    """How long the program takes to its end, in seconds."""
    begin = time.perf_counter()
    status, printed = one.run(*words)
    if status:  # as 1.27 ends by itself: the timeout is raised out of `flwr_exit`
        print(f"ended with {status}: {printed.splitlines()[-1]}")
    return time.perf_counter() - begin


def measure(name: str, off: Side, ours: Side, flowers: Side) -> None:
    """Run a program on the three sides, and print the figures."""
    words, runs = PROGRAMS[name]
    walls: dict[str, list[float]] = {"off": [], "through us": []}
    for _ in range(runs):
        walls["off"].append(wall_s(off, *words))
        walls["through us"].append(wall_s(ours, *words))
    walls["Flower itself"] = [wall_s(flowers, *words)]
    floor_s = statistics.median(walls["off"])
    for who, times_s in walls.items():
        median_s = statistics.median(times_s)
        spread = f"{min(times_s):.2f} to {max(times_s):.2f} s"
        ratio = f"{median_s - floor_s:+.2f} s, {median_s / floor_s:.2f} times"
        print(f"{name}, {who}: {median_s:.2f} s ({spread}), {ratio}", flush=True)


def main() -> None:
    """Print all figures."""
    print(f"Flower {'.'.join(map(str, sides.RELEASE))}, a collector that never answers")
    with tempfile.TemporaryDirectory() as directory, Collector() as collector:
        root = Path(directory)
        collector.answer_by(lambda _request: "hang")
        with (
            sides.side(root / "off", silent=True) as off,
            sides.ours(root, collector.url) as ours,
            sides.side(root / "flower", silent=True) as flowers,
        ):
            off.changes["FLWR_TELEMETRY_ENABLED"] = "0"
            for one in (off, ours, flowers):
                one.changes["QUIET"] = "1"  # a training that asks for its result would wait for a minute
            for name in PROGRAMS:
                measure(name, off, ours, flowers)


if __name__ == "__main__":
    main()
