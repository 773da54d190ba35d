"""Starts a sidecar that outlives this process and is not its child.

A sidecar is fully detached: it has its own session, its own working directory, no open file of this process,
and only the variables that it needs. What lies between exits at once, so this process need not wait for the
sidecar. Before Python starts, it makes the sidecar the first process to be killed if memory runs out.

This process may have put something else in the place of ``subprocess.Popen`` or ``os.waitpid``, as gevent
does. So this module takes the system calls from where Python itself has them. It never puts a setting into
argv: the home there only tells a person which sidecar this is.
"""

from __future__ import annotations

import contextlib
import json
import os
import posix
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import places, start_errors
from .errors import StartError
from .layout import Home, HostPaths
from .presence import GUARD, NAME

PLACES = "FLWR_TELEMETRYD_PLACES"
"""The variable with the file of each package; ``bootstrap.py`` reads it."""

# The variables by which a sidecar finds its interpreter, its home and the network. It gets no others, above
# all no tokens and passwords of the workload.
_PASSED_ON = frozenset(
    "PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH DYLD_LIBRARY_PATH "
    "COVERAGE_PROCESS_START COVERAGE_PROCESS_CONFIG HTTP_PROXY "
    "HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy REQUESTS_CA_BUNDLE "
    "CURL_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR".split()
)
_FILES = frozenset("REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE".split())
_DIRECTORIES = frozenset("SSL_CERT_DIR LD_LIBRARY_PATH".split())
"""Each a list. They and the files may be relative, and a sidecar has another working directory."""

_FOR_PYTHON = frozenset({"PYTHONHOME", "PYTHONPLATLIBDIR"})
"""They tell where the standard library is, unless Python ignores its variables."""

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
_MOST_WITHOUT_PROC = 256
"""Where the open files cannot be listed, so many numbers are tried."""
_RESET_ON_FORK = 0x40000000


class Sidecar:
    """A sidecar to be started. It is a plain class, because making a named tuple costs a first event 0.2 ms.

    Args:
        interpreter: Python with its switches.
        arguments: the rest of the argument vector.
        environment: all of its variables.
    """

    def __init__(self, interpreter: list[str], arguments: list[str], environment: dict[str, str]) -> None:
        self.interpreter = interpreter
        self.command = [*interpreter, *arguments]
        self.environment = environment


def sidecar(home: Home, environ: Mapping[str, str], *arguments: str) -> Sidecar:
    """The command and the environment of a sidecar that serves ``home``.

    Args:
        home: the home.
        environ: this process's variables.
        arguments: those of ``flwr-telemetryd``.

    Raises:
        StartError: none can be started from this process.
    """
    interpreter = [_python(), *_switches(environ)]
    found = places.find()
    package = os.path.dirname(found[__package__ or ""])
    bootstrap = next(
        filter(os.path.isfile, (os.path.join(package, f"bootstrap{end}") for end in (".py", ".pyc"))), ""
    )
    if not bootstrap:
        raise StartError("the package flwr_telemetry has no bootstrap.py")
    passed = _PASSED_ON if sys.flags.ignore_environment else _PASSED_ON | _FOR_PYTHON
    env = {name: _absolute(name, value) for name, value in environ.items() if name in passed}
    env |= {"FLWR_HOME": str(home.path), GUARD: "1", PLACES: json.dumps(found)}
    return Sidecar(interpreter, [bootstrap, NAME, str(home.path), *arguments], env)


def _absolute(name: str, value: str) -> str:
    """The value of a variable for a sidecar, with its paths made absolute."""
    if name not in _FILES | _DIRECTORIES:
        return value
    paths = value.split(os.pathsep) if name in _DIRECTORIES else [value]
    with contextlib.suppress(OSError):  # the working directory may be gone
        paths = [path and os.path.abspath(path) for path in paths]
    return os.pathsep.join(paths)


def _python() -> str:
    """The interpreter. A frozen or embedding program would start itself again."""
    executable = sys.executable or ""
    # A link to Python may have any name.
    names = (os.path.basename(path).lower() for path in (executable, os.path.realpath(executable)))
    is_python = any(name.startswith(("python", "pypy")) for name in names)
    if getattr(sys, "frozen", False) or "__compiled__" in globals():  # the second is Nuitka's
        raise StartError("this program is frozen, so it has no Python for a sidecar")
    if not (is_python and os.access(executable, os.X_OK)):
        raise StartError(f"this program has no Python for a sidecar (sys.executable is {sys.executable!r})")
    return executable


def _switches(environ: Mapping[str, str]) -> Iterator[str]:
    """This interpreter's switches that shut something out, and those by which only our packages are found."""
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-B": sys.dont_write_bytecode}
    yield from (flag for flag, is_set in flags.items() if is_set)
    yield from ("-s", "-P")
    if not any(name.startswith("COVERAGE_PROCESS") for name in environ):  # it needs its .pth file
        yield "-S"
    if sys.pycache_prefix:
        yield from ("-X", f"pycache_prefix={sys.pycache_prefix}")


def start(sidecar: Sidecar, host: HostPaths) -> None:
    """Start a sidecar of this host; its directory exists.

    Raises:
        StartError: it could not be started.
    """
    errors = start_errors.begin(host)
    middles = ([_SHELL, "-c", _SHELL_CODE, NAME], [*sidecar.interpreter, "-c", _PYTHON_CODE])
    shell, python = ([*middle, str(host.root), *sidecar.command] for middle in middles)
    try:
        try:
            _run(shell, sidecar.environment, errors)
        except OSError:
            _run(python, sidecar.environment, errors)
    except Exception as error:  # an audit hook of this process may raise anything
        reason = f"{type(error).__name__}: {error}"
        if errors is not None:
            with contextlib.suppress(OSError):
                os.write(errors, reason.encode("utf-8", "replace"))
        raise StartError(reason) from error
    finally:
        if errors is not None:
            os.close(errors)


def _run(command: list[str], environment: dict[str, str], errors: int | None) -> None:
    """Run a program to its end, detached from this process but for its standard error.

    Raises:
        OSError: it cannot be run, or ends with another code than 0.
    """
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
    """The process of a program. A C library may lack parts of ``rest``, which the sidecar does later."""
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
    if hasattr(posix, "sched_getscheduler") and posix.sched_getscheduler(0) & ~_RESET_ON_FORK in _REAL_TIME:
        attributes["scheduler"] = (posix.SCHED_OTHER, posix.sched_param(0))
    return attributes


def _inheritable() -> Iterator[int]:
    """The open files that a child would get besides the standard streams, for example from a C library."""
    found: Iterable[int] = range(_MOST_WITHOUT_PROC)
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
