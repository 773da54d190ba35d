"""Is it surely ours? Asked of every directory before anything in it is read, renamed or deleted.

A link that somebody put in a directory's place would make us work in another place, and a directory that
others can write to may hold anything. Neither is followed; ``health.py`` says it to people.
"""

from __future__ import annotations

import contextlib

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths


def check_root(host: HostPaths) -> None:
    """Raise SpoolUnsafeError unless ``telemetry/`` and the host's directory are ours, if they exist."""
    for directory in (host.telemetry, host.root):
        with contextlib.suppress(FileNotFoundError):
            files.check_directory(directory)


def check(host: HostPaths) -> None:
    """The same for the host's rooms, too."""
    check_root(host)
    for directory in host.rooms:
        with contextlib.suppress(FileNotFoundError):
            files.check_directory(directory)


def holds(host: HostPaths) -> bool:
    """Whether ``check`` has nothing to say."""
    try:
        check(host)
    except (OSError, TelemetryError):
        return False
    return True
