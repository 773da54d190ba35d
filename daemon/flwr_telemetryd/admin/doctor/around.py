"""Checks of what is around telemetry: Flower, systemd, batch systems and containers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr_telemetry import goodbye, launch, system
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

from ...inspect.flower import read_flower
from ...inspect.problems import nearest_directory
from ..service.launchctl import Launchctl
from ..service.systemctl import UP, Systemctl, lingers
from .check import Check, note, ok, skipped
from .here import file_system

_SUBMITTERS = {"sbatch": "Slurm", "qsub": "PBS or Grid Engine", "bsub": "LSF"}
"""Programs of batch systems. `flux` is missing, because another program has this name, too."""

_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""The same on every Linux: ``PROC_PID_INIT_INO`` of the kernel."""

_SYSTEMS = ("systemd", "init")
"""How the name of process 1 begins in a container that is a whole system. Its file system stays."""

_IN_MEMORY = ("tmpfs", "ramfs")


def flower(now: Settings, environ: Mapping[str, str]) -> Check:
    """Whether the Flower of this environment is adopted, so that telemetry's settings reach it."""
    view = read_flower(environ, enabled=now.consent.enabled)
    return note("Flower", view.found, view.advice) if view.advice else ok("Flower", view.found)


def systemd(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether a sidecar can run as a service of this user, also after the end of a session."""
    if system.MACOS:
        yield _launchd(Launchctl(environ).domain)
        return
    if system.WINDOWS:
        yield skipped("systemd", "not on Windows; `flwr-telemetry service install` names the Task Scheduler")
        return
    manager = Systemctl(environ)
    if not system.LINUX or not manager.is_here():
        yield skipped("systemd", "not here, so there is no service")
        return
    state = manager.state()
    if state not in UP:
        advice = "for a service, log in by ssh or console (not by su), or set XDG_RUNTIME_DIR"
        yield note("systemd", "this user has no running instance, so no service can run in it", advice)
        return
    yield ok("systemd", f"the instance of this user is {state}; a service can run in it")
    if lingers(environ):
        yield ok("linger", "on: a service continues after the last session")
    else:
        advice = "for a service that stays, run `loginctl enable-linger`"
        yield note("linger", "off: a service ends with the last session, and starts with the next", advice)


def _launchd(domain: str) -> Check:
    if domain:
        return ok("launchd", f"{domain} answers; a service can run in it")
    advice = "for a service, log in at the screen or by ssh (not by su)"
    return note("launchd", "it knows no session of this user, so no service can run", advice)


def batch_system(environ: Mapping[str, str]) -> Check:
    """Whether this process is in a batch job, where no event starts a sidecar."""
    if launch.in_batch_job(environ):
        waits = "this is a batch job: no event starts a sidecar here; events wait in the home"
        advice = "nothing, if a service or a login node serves this home; else `flwr-telemetry flush` there"
        return note("batch system", waits, advice)
    path = environ.get("PATH")
    found = [name for program, name in _SUBMITTERS.items() if shutil.which(program, path=path)]
    return ok("batch system", f"{', '.join(found)} is here; this is no job of it" if found else "none")


def container(home: Home, now: Settings, environ: Mapping[str, str]) -> Check:
    """Whether this is a container whose end takes the home with it."""
    if system.WINDOWS:
        return skipped("container", "not looked for on Windows")
    try:
        if os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE:
            return ok("container", "none")
        first = Path("/proc/1/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return skipped("container", "unknown, because there is no /proc")
    if first.startswith(_SYSTEMS):
        return ok("container", f"a whole system, with {first} as process 1")
    place = nearest_directory(home)
    if file_system(place) in _IN_MEMORY:
        found = "the home is in memory: it ends with this container or its pod, and no exit waits for it"
        return note("container", found, f"mount a volume at {home.path}, or let a service of the pod deliver")
    if not goodbye.is_ephemeral(place):
        return ok("container", "the home lies on a volume, so it outlives this container")
    wait_s = now.limits.goodbye_s if launch.may_start(now, environ) else 0
    wait = f"waits at most {wait_s:g} s" if wait_s else "does not wait"
    found = f"the home ends with this container: each start is a new source, and its exit {wait} for delivery"
    advice = f"mount a volume at {home.path}, or say by goodbye_s how long an exit may wait"
    return note("container", found, advice)
