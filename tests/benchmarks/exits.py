"""What telemetry adds to the wall time of a Flower program: ``python -m tests.benchmarks.exits``.

The program is what each of Flower's commands comes to: it reports that it starts, and ends by ``flwr_exit``,
which reports that and waits. In turn, before a collector that never answers: with telemetry off, through
us, and by Flower itself (once, for that takes up to two minutes). The figures are differences and ratios
to the run with telemetry off, in the same run, for the Flower that is installed.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e import sides
from tests.e2e.test_ends import FLWR_EXIT
from tests.support.collector import Collector

if TYPE_CHECKING:
    from tests.e2e.sides import Side

RUNS = 7

PROGRAM = f"""
from flwr.common import EventType, event
event(EventType.PING)
{FLWR_EXIT}
"""


def wall_s(one: Side) -> float:
    """How long the program takes to its end, in seconds."""
    begin = time.perf_counter()
    status, printed = one.run("-c", PROGRAM)
    if status:  # as 1.27 ends by itself: the timeout is raised out of `flwr_exit`
        print(f"ended with {status}: {printed.splitlines()[-1]}")
    return time.perf_counter() - begin


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory, Collector() as collector:
        root = Path(directory)
        collector.answer_by(lambda _request: "hang")
        with (
            sides.side(root / "off", silent=True) as off,
            sides.ours(root, collector.url) as ours,
            sides.side(root / "flower", silent=True) as flowers,
        ):
            off.changes["FLWR_TELEMETRY_ENABLED"] = "0"
            walls: dict[str, list[float]] = {"off": [], "through us": []}
            for _ in range(RUNS):
                walls["off"].append(wall_s(off))
                walls["through us"].append(wall_s(ours))
            walls["Flower itself"] = [wall_s(flowers)]
    floor_s = statistics.median(walls["off"])
    print(f"Flower {'.'.join(map(str, sides.RELEASE))}, a collector that never answers:")
    for name, times_s in walls.items():
        median_s = statistics.median(times_s)
        print(f"{name}: {median_s:.2f} s, {median_s - floor_s:+.2f} s, {median_s / floor_s:.2f} times")


if __name__ == "__main__":
    main()
