"""What the rows share that let ``flwr_telemetryd --once`` work off a spool."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support import homes

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
def kept(bench, kind, count):
    """A spool of this kind, for the length of a block."""
    with bench.place() as home:
        path = home / "kept" / kind / "spool"
        yield Spool(path, count, bench.tell(home, "spooling.py", kind, count, path))


def once(bench, spool):
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


def floor(bench):
    """What the sidecar's imports take alone."""
    with bench.place() as home:
        peak_kib, busy_s, wall_s = bench.tell(home, "once.py", "floor")
    return Taken(peak_kib / 1024, busy_s, wall_s)
