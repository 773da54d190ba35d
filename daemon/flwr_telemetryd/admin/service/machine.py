"""The values of this machine that a unit needs: program, home, writable directories, variables, host."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import package_files, system
from flwr_telemetry.errors import StartError
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

from ...delivery import is_file
from ...delivery.file import path_of

_PASSED_ON = frozenset(
    "LD_LIBRARY_PATH PYTHONHOME PYTHONUSERBASE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    "http_proxy https_proxy all_proxy no_proxy REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE "
    "SSL_CERT_DIR".split()
)
"""Variables that a sidecar inherits from the process that starts it, and that a user's manager lacks."""

_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - compared with, not written to


@dataclass(frozen=True, slots=True)
class Machine:
    """The values of one machine and home that go into a unit."""

    interpreter: str
    """The Python of the environment that this package is installed in."""

    home: Path
    """The ``.flwr`` directory."""

    is_default: bool
    """Whether the service finds that home without FLWR_HOME."""

    writes: tuple[Path, ...]
    """Directories that the service writes to; ``telemetry/`` is the first."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of this environment that the service needs."""

    private_tmp: bool = True
    """False if the service needs a file below a public temporary directory."""

    host: str = ""
    """Name of this host; empty if a unit cannot hold it."""


def this_machine(home: Home, now: Settings, environ: Mapping[str, str]) -> Machine:
    """The values for serving a home by its present settings."""
    writes = [home.telemetry]
    if (sink := sink_directory(now)) is not None and not sink.is_relative_to(home.telemetry):
        writes.append(sink)
    passed = {name: value for name, value in environ.items() if name in _PASSED_ON} | _python_path(environ)
    read = filter(None, [sys.executable, sys.prefix, sys.base_prefix, __file__, *sys.path])
    used = [path.resolve() for path in (*writes, *map(Path, read))]
    return Machine(
        interpreter=sys.executable,
        home=home.path,
        is_default=home.path == _default(),
        writes=tuple(writes),
        variables=dict(sorted(passed.items())),
        private_tmp=not any(path.is_relative_to(Path(tmp).resolve()) for path in used for tmp in _TEMPORARY),
        host=this_host(),
    )


def _python_path(environ: Mapping[str, str]) -> dict[str, str]:
    """PYTHONPATH with the entries that the service needs; no others, because they may hold a hook."""
    try:
        needed = package_files.python_path(environ)
    except StartError:
        needed = []
    return {"PYTHONPATH": os.pathsep.join(needed)} if needed else {}


def this_host() -> str:
    """The name of this host, as systemd compares it; empty if systemd would read it as a pattern."""
    name = platform.node()
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else ""


def sink_directory(now: Settings) -> Path | None:
    """The directory of the file that takes the bodies; None if they go over the network."""
    if not is_file(now.url):
        return None
    return Path(os.path.realpath(path_of(now.url).parent))


def _default() -> Path | None:
    """The home of a process that has only the environment of the user's manager."""
    _, directory = system.account()
    return Path(directory) / ".flwr" if directory else None
