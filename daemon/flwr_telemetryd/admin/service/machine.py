"""What the service needs on this machine: its program, its home, where it writes, and some variables."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flwr_telemetry import launch
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

if sys.platform != "win32":
    import pwd

# What a sidecar on demand has of its starter, as far as a user's manager has no such of its own.
_PASSED_ON = frozenset(
    "LD_LIBRARY_PATH PYTHONHOME PYTHONPATH PYTHONUSERBASE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    "http_proxy https_proxy all_proxy no_proxy REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE "
    "SSL_CERT_DIR".split()
)
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - looked at, not written to


@dataclass(frozen=True, slots=True)
class Machine:
    """All that differs between two machines.

    Attributes:
        interpreter: the Python of the environment that this is installed in.
        home: the `.flwr` directory.
        is_default: whether the service finds that without being told.
        writes: directories that it writes to.
        variables: what it needs of this environment.
        private_tmp: whether it can do without everybody's temporary files.
        host: the name of this machine; empty if no unit can tell it.
    """

    interpreter: str
    home: Path
    is_default: bool
    writes: tuple[Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    private_tmp: bool = True
    host: str = ""


def needs(home: Home, now: Settings, environ: Mapping[str, str]) -> Machine:
    """What it needs to serve a home by the settings of now."""
    writes = [home.telemetry]
    if (sink := sink_directory(now)) is not None and not _is_below(sink, home.telemetry):
        writes.append(sink)
    passed = launch.sidecar_environment(home, environ)
    read = [sys.executable, sys.prefix, sys.base_prefix, __file__, *sys.path]
    return Machine(
        interpreter=sys.executable,
        home=home.path,
        is_default=home.path == _default(),
        writes=tuple(writes),
        variables={name: value for name, value in sorted(passed.items()) if name in _PASSED_ON},
        private_tmp=not any(
            _is_below(Path(path).resolve(), Path(place).resolve())
            for path in (*map(str, writes), *filter(None, read))
            for place in _TEMPORARY
        ),
        host=this_host(),
    )


def this_host() -> str:
    """The name of this machine, as systemd compares it; empty if that would be read as a pattern."""
    name = platform.node()
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else ""


def sink_directory(now: Settings) -> Path | None:
    """The directory of the file that takes the bodies; None if they go over the network."""
    if not now.url.startswith("file:"):
        return None
    return Path(os.path.realpath(Path(unquote(urlsplit(now.url).path)).parent))


def _default() -> Path | None:
    """The home of a process that has the manager's environment alone."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".flwr"
    except KeyError:
        return None


def _is_below(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents
