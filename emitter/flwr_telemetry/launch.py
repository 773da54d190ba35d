"""Starts a sidecar, if that is allowed; the emitter knows nothing of the other package but ``MODULE``.

The guards, in their order: consent (the caller's), the lock of a running sidecar, a service's heartbeat, the
setting, the recursion guard, the batch job, the throttle, the lock, the throttle again under the lock. A
sidecar is fully detached: it has its own session, its own working directory, no open file of this process,
and only the variables that it needs. It is no child of this process, so this process need not wait for it.

This module never starts two, never waits for a sidecar to be ready, and never puts a setting into argv.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from . import files, presence
from .imports import undisturbed
from .layout import Home, HostPaths
from .locks import LockResult, try_exclusive
from .settings import Settings

MODULE = "flwr_telemetryd"
RECHECK_S = 1.0
"""Least time between two checks of a process for a living sidecar and for changed settings."""

GUARD = "FLWR_TELEMETRYD"
"""Set in a sidecar's environment, so that no code in it can start another."""

# The variables by which a sidecar finds its interpreter, its home and the network. It gets no others, above
# all no tokens and passwords of the workload.
_PASSED_ON = frozenset(
    "PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "PYTHONHOME PYTHONUSERBASE VIRTUAL_ENV COVERAGE_PROCESS_START COVERAGE_PROCESS_CONFIG HTTP_PROXY "
    "HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy REQUESTS_CA_BUNDLE "
    "CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR".split()
)

_BATCH_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")

# Double fork: the shell exits at once and init adopts the sidecar. A shell takes a millisecond. An image
# without one uses Python, which takes ten.
_SHELL = ("/bin/sh", "-c", '"$@" &', "sh")
_WITHOUT_SHELL = "import os, sys; os.fork() or os.execv(sys.argv[1], sys.argv[1:])"

_STARTED_MARK = "started {:<31}\n"
"""The lock file's contents after a start, with the last sidecar if it was a zombie; see ``reaper.py``."""

_MARK_BYTES = 40


class Wake(enum.Enum):
    """The answer to a request for a sidecar."""

    ALIVE = "one runs on this host"
    SERVED = "a service serves this home"
    STARTED = "one was started"
    THROTTLED = "one was started a moment ago"
    NOT_ALLOWED = "this process may not start one"


def wake(
    home: Home, host: HostPaths, chosen: Settings, environ: Mapping[str, str], may_create: Callable[[], bool]
) -> Wake:
    """Make sure that a sidecar or a service delivers the spool of ``host``, if that is allowed.

    Args:
        home: the home.
        host: this host; its directory exists.
        chosen: the settings of this process; ``sidecar`` and ``respawn_s`` count.
        environ: this process's variables.
        may_create: consent, read again; called before a file is created.

    Raises:
        NobodyReapsError: the last one is still a zombie, and so would be the next.
        OSError: the system's refusal; no event is lost by it.
    """
    if presence.alive(host):
        return Wake.ALIVE
    if presence.has_fresh_heartbeat(home, lambda: presence.last_touched(host)):
        return Wake.SERVED
    respawn_s = chosen.limits.respawn_s
    if not may_start(chosen, environ) or not _is_interpreter(sys.executable):
        return Wake.NOT_ALLOWED
    if _started_lately(host, respawn_s):
        return Wake.THROTTLED
    if not host.lock.exists() and not may_create():
        return Wake.NOT_ALLOWED
    outcome = _claim_start(host, respawn_s)
    if outcome is Wake.STARTED:
        _spawn(home, host, environ)
    return outcome


def _is_interpreter(executable: str | None) -> bool:
    """Whether ``executable`` is Python. A frozen or embedding program would start itself again."""
    name = os.path.basename(executable or "").lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def may_start(chosen: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the settings and variables of a process allow it to start a sidecar."""
    if chosen.sidecar == "never" or GUARD in environ:
        return False
    return chosen.sidecar == "always" or not in_batch_job(environ)


def in_batch_job(environ: Mapping[str, str]) -> bool:
    """Whether this process belongs to a job of a batch system, which kills what a job leaves behind."""
    is_grid_engine = bool(environ.get("JOB_ID") and environ.get("SGE_ROOT"))
    return is_grid_engine or any(map(environ.get, _BATCH_JOBS))


@undisturbed
def _for_a_start() -> tuple[ModuleType, ModuleType]:
    """Hardly any process starts a sidecar, so these imports wait."""
    import subprocess

    from . import reaper

    return subprocess, reaper


def _started_lately(host: HostPaths, respawn_s: float) -> bool:
    """Whether the lock file shows a start less than ``respawn_s`` ago, in either direction.

    A start in an earlier container does not count. Else a fleet of short containers might start a sidecar
    only at their ends.
    """
    try:
        last = host.lock.stat()
    except OSError:
        return False
    age_s = presence.last_touched(host) - last.st_mtime
    return last.st_size > 0 and abs(age_s) < respawn_s and not presence.is_from_before(age_s)


def _claim_start(host: HostPaths, respawn_s: float) -> Wake:
    """Claim the right to start. Where locks work, one process gets it."""
    with files.opened(host.lock, os.O_RDWR | os.O_CREAT) as descriptor:
        if try_exclusive(descriptor) is LockResult.BUSY:
            return Wake.ALIVE
        if _started_lately(host, respawn_s):
            return Wake.THROTTLED
        noted = os.pread(descriptor, _MARK_BYTES, 0).decode("ascii", "replace").removeprefix("started")
        age_s = presence.last_touched(host) - os.fstat(descriptor).st_mtime
        _, reaper = _for_a_start()
        left = reaper.take_former(host, noted.strip(), age_s)
        # A write sets the file's time by its own file system. The size tells a start from a mere creation.
        os.pwrite(descriptor, _STARTED_MARK.format(left).encode(), 0)
        return Wake.STARTED


def request_flush(host: HostPaths) -> None:
    """Ask the sidecar or the service of this host to deliver now."""
    files.ensure_directory(host.spool)
    files.touch(host.flush)
    presence.signal_service(host)


def sidecar_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a sidecar that serves ``home``."""
    passed = {name: value for name, value in environ.items() if name in _PASSED_ON}
    # A PYTHONPATH may hold modules that shadow ours, or our own hook. Only the entries of our packages stay.
    root = str(Path(__file__).resolve().parents[1])
    entries = environ.get("PYTHONPATH", "").split(os.pathsep)
    daemon = [entry for entry in entries if entry and (Path(entry) / MODULE).is_dir()]
    ours = [entry for entry in entries if entry and os.path.realpath(entry) == root]
    if kept := list(dict.fromkeys([*ours, *daemon])):
        passed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in kept)
    return {**passed, "FLWR_HOME": str(home.path), GUARD: "1"}


def _spawn(home: Home, host: HostPaths, environ: Mapping[str, str]) -> None:
    """Start a sidecar that outlives this process and is not its child."""
    subprocess, _ = _for_a_start()
    # `-P` keeps the working directory off the module path.
    sidecar = [sys.executable, "-P", "-m", MODULE]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    env = sidecar_environment(home, environ)
    for middle in (_SHELL, (sys.executable, "-I", "-S", "-c", _WITHOUT_SHELL)):
        try:
            subprocess.run(
                [*middle, *sidecar], **streams, start_new_session=True, cwd=host.root, env=env, check=False
            )
            return
        except OSError as error:
            if middle is not _SHELL or error.filename != middle[0]:
                raise
