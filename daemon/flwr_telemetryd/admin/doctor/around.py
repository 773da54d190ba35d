"""Checks of what starts and ends processes on this machine: systemd, and batch systems."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping

from flwr_telemetry import launch

from ..service.systemctl import UP, Systemctl, lingers
from .check import Check, Verdict

_SUBMITTERS = {"sbatch": "Slurm", "qsub": "PBS or Grid Engine", "bsub": "LSF"}
"""Whose program is surely theirs: `flux` is that of something else, too."""


def systemd(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether a sidecar could run as a service of this user, and beyond the end of a session."""
    manager = Systemctl(environ)
    if sys.platform != "linux" or not manager.is_here():
        yield Check("systemd", Verdict.SKIPPED, "not here, so there is no service")
        return
    state = manager.state()
    if state not in UP:
        yield Check(
            "systemd",
            Verdict.NOTE,
            "this user has no running instance, so no service could run in it",
            "for a service, log in by ssh or console (not by su), or set XDG_RUNTIME_DIR",
        )
        return
    yield Check("systemd", Verdict.OK, f"the instance of this user is {state}; a service could run in it")
    if lingers(environ):
        yield Check("linger", Verdict.OK, "on: a service outlives the last session")
    else:
        yield Check(
            "linger",
            Verdict.NOTE,
            "off: a service ends with the last session, and starts with the next",
            "for a service that stays, run `loginctl enable-linger`",
        )


def batch_system(environ: Mapping[str, str]) -> Check:
    """Whether this is a job, where no sidecar is started by itself."""
    if launch.in_batch_job(environ):
        return Check(
            "batch system",
            Verdict.NOTE,
            "this is a batch job: no event starts a sidecar here; events wait in the home",
            "nothing, if a service or a login node serves this home; else `flwr-telemetry flush` there",
        )
    found = [name for word, name in _SUBMITTERS.items() if shutil.which(word, path=environ.get("PATH"))]
    if found:
        return Check("batch system", Verdict.OK, f"{', '.join(found)} is here; this is no job of it")
    return Check("batch system", Verdict.OK, "none")
