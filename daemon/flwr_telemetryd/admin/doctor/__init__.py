"""What is in the way of telemetry on this machine, one check after the other.

    here.py      the home, its disk and its locks, the clock, the sidecar
    way_out.py   proxy, name resolution, the collector
    around.py    what starts and ends processes here: systemd, batch systems

Each check looks at one thing, and says what it found and what to do. With telemetry off nothing is
written and nothing leaves the machine, here as anywhere. This room must never send an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flwr_telemetry import settings
from flwr_telemetry.layout import Home

from ...clock import Clock
from . import around, here, way_out
from .check import Check, Verdict

__all__ = ["Check", "Verdict", "examine"]


def examine(home: Home, environ: Mapping[str, str], clock: Clock) -> Iterator[Check]:
    """Check everything; each check is given as soon as it is done.

    Args:
        home: the home.
        environ: this process's variables.
        clock: time.

    Never raises for what the home or the machine is.
    """
    now = settings.load(home, environ)
    yield here.telemetry(now)
    faults = 0
    for check in here.home(home, now):
        faults += check.verdict is Verdict.FAULT
        yield check
    # What may stand behind a link, or belong to somebody else, is not written to.
    may_write = now.consent.enabled and not faults
    yield here.locks(home, may_write=may_write)
    yield here.clock(home, clock, may_write=may_write)
    yield here.sidecar(home, now, environ)
    yield from way_out.check(now, environ, clock)
    yield from around.systemd(environ)
    yield around.batch_system(environ)
