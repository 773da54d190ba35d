"""May I start a sidecar, and start it: the emitter's only knowledge of the other package is ``MODULE``.

Spawning is guarded, cheapest first: consent (the caller's), the setting, the batch job, the recursion
guard, a service's heartbeat, the throttle, the lock, the throttle again under the lock. What is started
is detached wholly: a session of its own, no descriptor of ours, a working directory of its own, none of
our environment but what it needs, and no child of ours, so that nobody has to wait for it.

This room must never start two, never wait for a sidecar to be ready, and never put a setting into argv.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from . import files
from .errors import BUSY_ERRNOS, TelemetryError
from .imports import undisturbed
from .layout import Home, HostPaths, is_heartbeat

MODULE = "flwr_telemetryd"
LOOK_AGAIN_S = 1.0
"""How often a process looks whether a sidecar lives, and whether settings have changed, at most."""

HEARTBEAT_FRESH_S = 90.0
SERVICE_MODE = "service"
"""What a service calls itself in ``sidecar.json``."""

GUARD = "FLWR_TELEMETRYD"
"""Set in a sidecar's environment, so that nothing in it can start another."""

# What a sidecar needs of an environment: to find its interpreter, its home and a way out. Everything
# else, tokens and passwords of the workload above all, stays where it is.
_PASSED_ON = frozenset(
    "PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "PYTHONHOME PYTHONUSERBASE VIRTUAL_ENV COVERAGE_PROCESS_START COVERAGE_PROCESS_CONFIG HTTP_PROXY "
    "HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy REQUESTS_CA_BUNDLE "
    "CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR".split()
)

if sys.platform != "win32":
    import fcntl
_BATCH_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")

# What is between us and a sidecar leaves at once and hands its child to init: nobody has to wait for one.
# The wait for a shell is a millisecond; an image without one has Python do it, which takes ten.
_SHELL = ("/bin/sh", "-c", '"$@" &', "sh")
_WITHOUT_SHELL = "import os, sys; os.fork() or os.execv(sys.argv[1], sys.argv[1:])"

_STARTED_MARK = "started {:<31}\n"
"""With the former sidecar, if it was a zombie then; see ``reaping``."""

_MARK_BYTES = 40
_MAX_STATE_BYTES = 64 * 1024


class Wake(enum.Enum):
    """What came of asking for a sidecar."""

    ALIVE = "one runs on this host"
    SERVED = "a service serves this home"
    STARTED = "one was started"
    THROTTLED = "one was started a moment ago"
    NOT_ALLOWED = "this process may not start one"


def wake(
    home: Home,
    host: HostPaths,
    *,
    setting: str,
    respawn_s: float,
    environ: Mapping[str, str],
    may_create: Callable[[], bool],
) -> Wake:
    """Make sure that somebody will deliver what is in the spool of ``host``, if that is allowed.

    Args:
        home: the home.
        host: this host; its directory exists.
        setting: ``auto``, ``always`` or ``never``.
        respawn_s: no second start within this time.
        environ: this process's variables.
        may_create: consent, read afresh; asked before a file is created.

    Raises:
        NobodyReapsError: the last one was left a zombie, and so would be the next.
        OSError: the system's refusal; nothing is lost by it.
    """
    if alive(host):
        return Wake.ALIVE
    forbidden = setting == "never" or GUARD in environ or not _is_interpreter(sys.executable)
    if forbidden or (setting == "auto" and in_batch_job(environ)):
        return Wake.SERVED if served(home, host) else Wake.NOT_ALLOWED
    if served(home, host):
        return Wake.SERVED
    if _started_lately(host, respawn_s):
        return Wake.THROTTLED
    if not host.lock.exists() and not may_create():
        return Wake.NOT_ALLOWED
    outcome = _claim_start(host, respawn_s)
    if outcome is Wake.STARTED:
        _spawn(home, host, environ)
    return outcome


def _is_interpreter(executable: str | None) -> bool:
    """Whether ``executable`` is Python; a frozen or embedding application would start itself again."""
    name = os.path.basename(executable or "").lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def in_batch_job(environ: Mapping[str, str]) -> bool:
    """Whether this process belongs to a job of a batch system, which kills what a job leaves behind."""
    return any(environ.get(name) for name in _BATCH_JOBS) or bool(
        environ.get("JOB_ID") and environ.get("SGE_ROOT")
    )


# Hardly any process starts a sidecar, and locks work nearly everywhere: these imports wait.


@undisturbed
def _reaping() -> ModuleType:
    from . import reaping

    return reaping


@undisturbed
def _subprocess() -> ModuleType:
    import subprocess

    return subprocess


def alive(host: HostPaths) -> bool:
    """Whether some process holds the sidecar's lock of this host."""
    try:
        descriptor = files.open_file(host.lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        locked = try_lock(descriptor)
        return told_alive(host) if locked is None else not locked
    finally:
        os.close(descriptor)  # lets go of the lock


def told_alive(host: HostPaths) -> bool:
    """Whether a sidecar of this host lives by its own word; asked only where locks do not work."""
    try:
        state = json.loads(files.read_bytes(host.state, _MAX_STATE_BYTES))
        pid, ended = state["pid"], state["ended"]
        if ended or type(pid) is not int or pid <= 1 or pid == os.getpid():
            return False
        os.kill(pid, 0)
        # A number is used again, and means something else in another container: on Linux we can tell.
        return bool(_reaping().lives(pid, state["born"]))
    except (OSError, ValueError, LookupError, TypeError, OverflowError, TelemetryError):
        return False


def nudge(host: HostPaths) -> None:
    """Have a service of this host look now, which it does once in half a minute where nothing happens."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, TelemetryError):
        state = json.loads(files.read_bytes(host.state, _MAX_STATE_BYTES))
        if state["mode"] == SERVICE_MODE and told_alive(host):
            os.kill(state["pid"], signal.SIGHUP)


def served(home: Home, host: HostPaths) -> bool:
    """Whether a service with a fresh heartbeat serves this home.

    Its age is a difference between two times of that file system, never against a host's clock.
    """
    try:
        with os.scandir(home.telemetry) as entries:
            beats = [
                entry.stat(follow_symlinks=False).st_mtime for entry in entries if is_heartbeat(entry.name)
            ]
    except OSError:
        return False
    now = _just_touched(host)
    return any(files.age_s(now, beat) < HEARTBEAT_FRESH_S for beat in beats)


def _just_touched(host: HostPaths) -> float:
    """The file system's now: whoever wakes has just appended an event or touched ``flush``.

    Either may be gone again; then the spool's own time tells when.
    """
    times = [*_times(host.events, host.flush)] or [*_times(host.spool)]
    return max(times, default=0.0)


def _times(*paths: Path) -> Iterator[float]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.stat().st_mtime


def _started_lately(host: HostPaths, respawn_s: float) -> bool:
    """Whether the lock file tells of a start less than ``respawn_s`` ago; a step of the clock ends it."""
    try:
        last = host.lock.stat()
    except OSError:
        return False
    return last.st_size > 0 and abs(_just_touched(host) - last.st_mtime) < respawn_s


def _claim_start(host: HostPaths, respawn_s: float) -> Wake:
    """Take the right to start: one process gets it, as long as locks work."""
    descriptor = files.open_file(host.lock, os.O_RDWR | os.O_CREAT)
    try:
        if try_lock(descriptor) is False:
            return Wake.ALIVE
        if _started_lately(host, respawn_s):
            return Wake.THROTTLED
        noted = os.pread(descriptor, _MARK_BYTES, 0).decode("ascii", "replace").removeprefix("started")
        age_s = _just_touched(host) - os.fstat(descriptor).st_mtime
        left = _reaping().take_former(host, noted.strip(), age_s)
        # A write sets the file's time on its own file system; the size tells a start from a mere creation.
        os.pwrite(descriptor, _STARTED_MARK.format(left).encode(), 0)
        return Wake.STARTED
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool | None:
    """One attempt at the lock that the sidecar holds through filelock; None where locks do not work."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in BUSY_ERRNOS else None
    return True


def sidecar_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a sidecar that serves ``home``."""
    passed = {name: value for name, value in environ.items() if name in _PASSED_ON}
    # A PYTHONPATH may hold modules that shadow ours, or our own hook; we keep the entry that we came from.
    root = str(Path(__file__).resolve().parents[1])
    entries = environ.get("PYTHONPATH", "").split(os.pathsep)
    daemon = [entry for entry in entries if entry and (Path(entry) / MODULE).is_dir()]
    ours = [entry for entry in entries if entry and os.path.realpath(entry) == root]
    if kept := list(dict.fromkeys([*ours, *daemon])):
        passed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in kept)
    return {**passed, "FLWR_HOME": str(home.path), GUARD: "1"}


def _spawn(home: Home, host: HostPaths, environ: Mapping[str, str]) -> None:
    """Start a sidecar that outlives us and is not our child."""
    subprocess = _subprocess()
    # `-P` keeps the working directory off the module path.
    sidecar = [sys.executable, "-P", "-m", MODULE]
    for middle in (_SHELL, (sys.executable, "-I", "-S", "-c", _WITHOUT_SHELL)):
        try:
            between = subprocess.Popen(
                [*middle, *sidecar],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,
                cwd=host.root,
                env=sidecar_environment(home, environ),
            )
        except OSError as error:
            if middle is not _SHELL or error.filename != middle[0]:
                raise
        else:
            between.wait()
            return
