"""What the rows share that let ``flwr_telemetryd --once`` work off a spool."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import homes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.bench import Bench

# So large that nothing is dropped.
ROOM = {"spool_max_mib": 4000, "sent_max_mib": 4000}


@dataclass(frozen=True, slots=True)
class Spool:
    """Segments that are copied into a home for each run."""

    path: Path
    events: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a run took."""

    peak_mib: float
    busy_s: float  # of processor time
    wall_s: float
    requests: int = 0


@contextlib.contextmanager
def kept(bench: Bench, kind: str, count: int) -> Iterator[Spool]:
    """A spool of this kind, for the length of a block."""
    with bench.place() as home:
        path = home / "kept" / kind / "spool"
        yield Spool(path, count, bench.tell(home, "spooling.py", kind, count, path))


def once(bench: Bench, spool: Spool) -> Taken:
    """Work off a copy of a spool; all of it has to arrive."""
    with bench.place(**ROOM) as home:
        target = homes.spool(home / ".flwr")
        target.parent.mkdir(mode=0o700)
        shutil.copytree(spool.path, target)
        bench.collector.ask("reset")
        peak_kib, busy_s, wall_s = bench.tell(home, "once.py")
        counts = bench.collector.ask()
    if counts.events != spool.events:
        raise RuntimeError(f"{counts.events} of {spool.events} events have arrived")
    return Taken(peak_kib / 1024, busy_s, wall_s, counts.requests)


def floor(bench: Bench) -> Taken:
    """What the sidecar's imports take alone."""
    with bench.place() as home:
        peak_kib, busy_s, wall_s = bench.tell(home, "once.py", "floor")
    return Taken(peak_kib / 1024, busy_s, wall_s)
