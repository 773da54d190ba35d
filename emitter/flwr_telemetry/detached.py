"""Starts a program that is fully detached from this process, on POSIX; see ``windows/processes.py`` as well.

The program has its own session, its own working directory, and no open file of this process. A shell between
the two exits at once, so this process waits for a millisecond only. If memory runs out, the kernel kills the
program first (``oom_score_adj``).

A program may have replaced ``subprocess.Popen`` or ``os.waitpid``, as gevent does. So this module calls the
functions of ``posix``.
"""

from __future__ import annotations

import contextlib
import os
import posix
import signal
import sys
from collections.abc import Iterable, Iterator

from .named import Any
from .presence import NAME

# On Windows, mypy checks the names of `windows`, and reads no further here.
TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING and sys.platform == "win32":
    from .windows import run_detached as run_detached  # noqa: PLC0414
assert not TYPE_CHECKING or sys.platform != "win32"

# Double fork: the shell exits at once and init adopts the sidecar. A shell takes a millisecond. An image
# without one uses Python, which takes ten. Without a writable /proc the sidecar starts all the same.
_SHELL = "/bin/sh"
_SHELL_CODE = """\
cd "$1" || exit
shift
{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
"$@" &
"""
_PYTHON_CODE = """\
import os, sys
os.chdir(sys.argv[1])
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
except OSError:
    pass
os.fork() or os.execv(sys.argv[2], sys.argv[2:])
"""

_REAL_TIME = frozenset({1, 2, 6})
"""FIFO, RR and DEADLINE of sched(7): a sidecar in one of them would keep the training from its processor."""

_STANDARD_ERROR = 2
_MAX_WITHOUT_PROC = 256
"""If the open files cannot be listed, this number of descriptors is tried."""
_RESET_ON_FORK = 0x40000000


def run_detached(
    interpreter: list[str],
    command: list[str],
    directory: str,
    environment: dict[str, str],
    errors: int | None,
) -> None:
    """Start a program that is not a child of this process, and outlives it.

    Args:
        interpreter: Python with its switches, for a system without a shell.
        command: the program and its arguments.
        directory: its working directory.
        environment: all of its variables.
        errors: a descriptor for its standard error; None leads that nowhere.

    Raises:
        OSError: it could not be started.
    """
    shell = [_SHELL, "-c", _SHELL_CODE, NAME, directory, *command]
    python = [*interpreter, "-c", _PYTHON_CODE, directory, *command]
    try:
        _run(shell, environment, errors)
    except OSError:
        _run(python, environment, errors)


def _run(command: list[str], environment: dict[str, str], errors: int | None) -> None:
    """Run a program to its end, detached from this process but for its standard error.

    Raises:
        OSError: it cannot be run, or ends with another code than 0.
    """
    # A minimal container may lack it. For each file action that fails, `posix_spawn` blames the program.
    os.close(os.open(os.devnull, os.O_RDWR))
    actions: list[tuple[Any, ...]] = [
        (posix.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        *((posix.POSIX_SPAWN_DUP2, 0 if errors is None else errors, stream) for stream in (1, 2)),
        *((posix.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
    ]
    signals = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
    common: dict[str, Any] = {"file_actions": actions, "setsigmask": (), "setsigdef": signals}
    if code := _wait(_spawned(command, environment, common, _attributes())):
        raise OSError(f"{command[0]} ended with {code}")


def _spawned(
    command: list[str], environment: dict[str, str], common: dict[str, Any], rest: dict[str, Any]
) -> int:
    """Start a program; its process ID. Parts of ``rest`` that the C library lacks are left to the sidecar."""
    while True:
        try:
            return posix.posix_spawn(command[0], command, environment, **common, **rest)
        except (NotImplementedError, OSError):
            if not rest:
                raise
            rest = dict(list(rest.items())[1:])


def _attributes() -> dict[str, Any]:
    """A session of its own, and no real-time class."""
    attributes: dict[str, Any] = {"setsid": True}
    with contextlib.suppress(OSError):  # musl has no scheduling classes
        if (
            hasattr(posix, "sched_getscheduler")
            and posix.sched_getscheduler(0) & ~_RESET_ON_FORK in _REAL_TIME
        ):
            attributes["scheduler"] = (posix.SCHED_OTHER, posix.sched_param(0))
    return attributes


def _inheritable() -> Iterator[int]:
    """The open files that a child would get besides the standard streams, for example from a C library."""
    found: Iterable[int] = range(_MAX_WITHOUT_PROC)
    with contextlib.suppress(OSError):
        found = map(int, os.listdir("/dev/fd"))
    for descriptor in found:
        with contextlib.suppress(OSError):  # it is closed by now
            if descriptor > _STANDARD_ERROR and os.get_inheritable(descriptor):
                yield descriptor


def _wait(pid: int) -> int:
    """Wait for a child that ends at once; its exit code, 0 if another part of this process has reaped it."""
    try:
        return os.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0
    except BaseException:  # a signal handler of this process has raised
        with contextlib.suppress(ChildProcessError):
            posix.waitpid(pid, 0)
        raise
