"""Checks of the programs beside telemetry: Flower, and those that start and end processes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping

from flwr_telemetry import launch
from flwr_telemetry.settings import Settings

from ...inspect.flower import read_flower
from ..service.systemctl import UP, Systemctl, lingers
from .check import Check, note, ok, skipped

_SUBMITTERS = {"sbatch": "Slurm", "qsub": "PBS or Grid Engine", "bsub": "LSF"}
"""Programs of batch systems. `flux` is missing, because another program has this name, too."""


def flower(now: Settings, environ: Mapping[str, str]) -> Check:
    """Whether the Flower of this environment is adopted, so that telemetry's settings reach it."""
    view = read_flower(environ, enabled=now.consent.enabled)
    return note("Flower", view.found, view.advice) if view.advice else ok("Flower", view.found)


def systemd(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether a sidecar can run as a service of this user, also after the end of a session."""
    manager = Systemctl(environ)
    if sys.platform != "linux" or not manager.is_here():
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


def batch_system(environ: Mapping[str, str]) -> Check:
    """Whether this process is in a batch job, where no event starts a sidecar."""
    if launch.in_batch_job(environ):
        waits = "this is a batch job: no event starts a sidecar here; events wait in the home"
        advice = "nothing, if a service or a login node serves this home; else `flwr-telemetry flush` there"
        return note("batch system", waits, advice)
    path = environ.get("PATH")
    found = [name for program, name in _SUBMITTERS.items() if shutil.which(program, path=path)]
    return ok("batch system", f"{', '.join(found)} is here; this is no job of it" if found else "none")
