"""Starts a sidecar that outlives this process: its command and its environment.

A sidecar is fully detached: it has its own working directory, no open file of this process, and only the
variables that it needs; see ``detached.py``. This module never puts a setting into argv. The home is there
only for a person who lists processes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

from . import package_files, start_errors, system
from .errors import StartError
from .layout import Home, HostPaths
from .presence import GUARD, NAME

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING or not system.WINDOWS:
    from .detached import run_detached
else:
    from .windows import run_detached

PACKAGE_FILES = "FLWR_TELEMETRYD_PACKAGE_FILES"
"""The variable with the file of each package; ``bootstrap.py`` reads it."""

SEPARATOR = "\x1e"

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
"""Variables that hold a list of directories. All these paths may be relative, but a sidecar has another
working directory, so they are made absolute."""

_FOR_PYTHON = frozenset({"PYTHONHOME", "PYTHONPLATLIBDIR"})
"""Variables that name the standard library; passed on unless Python ignores its variables."""


class Sidecar:
    """A sidecar to be started.

    Args:
        interpreter: Python with its switches.
        arguments: the rest of the argument vector.
        environment: all of its variables.
    """

    def __init__(self, interpreter: list[str], arguments: list[str], environment: dict[str, str]) -> None:
        self.interpreter = interpreter
        self.command: list[str] = [*interpreter, *arguments]
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
    found = package_files.find()
    package = os.path.dirname(found[__package__ or ""])
    bootstrap = next(
        filter(os.path.isfile, (os.path.join(package, f"bootstrap{end}") for end in (".py", ".pyc"))), ""
    )
    if not bootstrap:
        raise StartError("the package flwr_telemetry has no bootstrap.py")
    passed = _PASSED_ON | system.PASSED_ON
    if not sys.flags.ignore_environment:
        passed |= _FOR_PYTHON
    env = {name: _absolute(name, value) for name, value in environ.items() if name in passed}
    env |= {"FLWR_HOME": str(home.path), GUARD: "1"}
    env[PACKAGE_FILES] = SEPARATOR.join(map("=".join, found.items()))
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
    """The interpreter. ``sys.executable`` of a frozen or embedding program would start that program again."""
    told = getattr(sys, "executable", None)  # an embedding program may have removed it
    executable = told or ""
    # A link to Python may have any name.
    names = (os.path.basename(path).lower() for path in (executable, os.path.realpath(executable)))
    is_python = any(name.startswith(("python", "pypy")) for name in names)
    if getattr(sys, "frozen", False) or "__compiled__" in globals():  # the second is Nuitka's
        raise StartError("this program is frozen, so it has no Python for a sidecar")
    if not (is_python and os.access(executable, os.X_OK)):
        raise StartError(f"this program has no Python for a sidecar (sys.executable is {told!r})")
    return executable


def _switches(environ: Mapping[str, str]) -> Iterator[str]:
    """The switches of this interpreter that exclude something, and those that exclude site-packages."""
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
    try:
        run_detached(sidecar.interpreter, sidecar.command, str(host.root), sidecar.environment, errors)
    except Exception as error:  # an audit hook of this process may raise anything
        reason = f"{type(error).__name__}: {error}"
        if errors is not None:
            with contextlib.suppress(OSError):
                os.write(errors, reason.encode("utf-8", "replace"))
        raise StartError(reason) from error
    finally:
        if errors is not None:
            os.close(errors)
