"""Is it surely ours? Asked of every directory before anything in it is read, renamed or deleted.

A link that somebody put in a directory's place would make us work in another place, and a directory that
others can write to may hold anything. Neither is followed; ``health.py`` says it to people.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import HostPaths


def check_root(host: HostPaths) -> None:
    """Raise SpoolUnsafeError unless ``telemetry/`` and the host's directory are ours, if they exist."""
    _check(host.telemetry, host.root)


def check(host: HostPaths) -> None:
    """The same for the host's rooms, too."""
    _check(host.telemetry, host.root, *host.rooms)


def _check(*directories: Path) -> None:
    for directory in directories:
        with contextlib.suppress(FileNotFoundError), files.stale_is_gone():
            files.check_directory(directory)


def holds(host: HostPaths) -> bool:
    """Whether ``check`` has nothing to say."""
    try:
        check(host)
    except (OSError, TelemetryError):
        return False
    return True
