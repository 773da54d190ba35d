"""Checks of this machine, one after the other: is there a problem for telemetry, and what helps?

    check.py     a check: its name, its verdict, what was found, and advice
    here.py      the home, its disk and its locks, the clock, the sidecar
    shared.py    the file system of a home that other machines use, too
    way_out.py   proxy, name resolution, certificates
    collector.py the collector's answer; otlp.py, if it speaks OTLP
    around.py    what starts and ends processes here: systemd, batch systems, containers

In:    a home, and this process's variables.
Out:   checks, each as soon as it is done.
Owns:  nothing on the disk but a temporary file for the moment of a check.
Never: sends an event. With telemetry off, it writes nothing and uses no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flwr_telemetry import mounts, settings
from flwr_telemetry.layout import Home

from ...clock import Clock
from ...inspect.problems import nearest_directory
from . import around, here, otlp, shared, way_out
from .check import Check, Verdict, fault_of, skipped

__all__ = ["Check", "Verdict", "examine"]


def examine(home: Home, environ: Mapping[str, str], clock: Clock, silence: str = "") -> Iterator[Check]:
    """Check everything; yields each check as soon as it is done.

    Args:
        home: the home; it need not exist.
        environ: this process's variables.
        clock: the source of time.
        silence: the problem of a file server that does not answer. The home is not touched then.

    Never raises because of the state of the home or of the machine.
    """
    if silence:
        yield fault_of("home", silence)
        yield from around.systemd(environ)
        yield around.batch_system(environ)
        return
    now = settings.load(home, environ)
    yield here.telemetry(now)
    yield around.flower(now, environ)
    checks = [*here.home(home, now)]
    yield from checks
    place = nearest_directory(home)
    mount = mounts.find(place)
    if mount is not None and not mount.is_shared:
        mount = None  # then the checks of a disk of this machine are made
    if mount is not None:
        yield shared.file_system(mount)
    # With a fault, another user's file or a link may stand in the place where the check would write.
    if now.consent.enabled and all(check.verdict is not Verdict.FAULT for check in checks):
        if mount is not None:
            yield from shared.check(place, mount)
        else:
            yield here.locks(home)
        yield here.clock(home, clock)
    else:
        found = "not checked, because nothing is written while telemetry is off or the home has a fault"
        yield skipped("locks", found)
        yield skipped("clock", found)
    yield here.sidecar(home, now, environ)
    if now.consent.enabled and now.kept_by:
        yield skipped("collector", f"not checked, because nothing is sent: {now.kept_by}")
    elif now.consent.enabled:
        yield from way_out.check(now, environ, clock)
        yield from otlp.variables(environ)
    else:
        yield skipped("collector", "not checked, because telemetry is off")
    yield from around.systemd(environ)
    yield around.batch_system(environ)
    yield around.container(home, now, environ)
