"""Checks of what starts and ends processes on this machine: systemd, and batch systems."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping

from flwr_telemetry import launch

from .check import Check, Verdict

_TIMEOUT_S = 5.0
_UP = ("running", "degraded", "starting", "initializing", "maintenance")
_SUBMITTERS = {"sbatch": "Slurm", "qsub": "PBS or Grid Engine", "bsub": "LSF"}
"""Whose program is surely theirs: `flux` is that of something else, too."""


def systemd(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether a sidecar could run as a service of this user, and beyond the end of a session."""
    if sys.platform != "linux" or not shutil.which("systemctl", path=environ.get("PATH")):
        yield Check("systemd", Verdict.SKIPPED, "not here, so there is no service")
        return
    state = _ask(["systemctl", "--user", "is-system-running"], environ)
    if state not in _UP:
        yield Check(
            "systemd",
            Verdict.NOTE,
            "this user has no running instance, so no service could run in it",
            "for a service, log in by ssh or console (not by su), or set XDG_RUNTIME_DIR",
        )
        return
    yield Check("systemd", Verdict.OK, f"the instance of this user is {state}; a service could run in it")
    linger = _ask(["loginctl", "show-user", str(os.geteuid()), "--property=Linger", "--value"], environ)
    if linger == "yes":
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


def _ask(command: list[str], environ: Mapping[str, str]) -> str:
    """The one word that a program answers; empty if it does not."""
    try:
        done = subprocess.run(  # noqa: S603 - two commands of our own
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip()
