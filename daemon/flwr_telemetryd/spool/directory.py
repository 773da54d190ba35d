"""FACE."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths


def check_root(host: HostPaths) -> None:
    """Raise SpoolUnsafeError unless ``telemetry/`` and the host's directory are ours, if they exist."""
    _check(host.telemetry, host.root)


def check_ownership(host: HostPaths) -> None:
    """The same for the host's rooms, too."""
    _check(host.telemetry, host.root, *host.directories)


def _check(*directories: Path) -> None:
    for directory in directories:
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            files.check_directory(directory)


def is_ours(host: HostPaths) -> bool:
    """Whether ``check`` has nothing to say."""
    try:
        check_ownership(host)
    except (OSError, TelemetryError):
        return False
    return True


_NOT_HOST = "."


def known_hosts(home: Home) -> list[HostPaths]:
    """Every host that has a directory in this home."""
    return [
        home.host(path.name)
        for path in listing(home.telemetry)
        if not path.name.startswith(_NOT_HOST) and _is_directory(path)
    ]


def _is_directory(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
        return stat.S_ISDIR(path.lstat().st_mode)
    return False


def foreign_host_entries(home: Home) -> list[str]:
    """What is a link where a host's directory would be, and is followed by nobody: one sentence each."""
    return [
        f"{path} is a link or no directory; remove it"
        for path in listing(home.telemetry)
        if not path.name.startswith(_NOT_HOST) and path.is_symlink() and path.is_dir()
    ]


def listing(directory: Path) -> list[Path]:
    """What is in a directory, in order of names; nothing if it is not there."""
    return [directory / name for name in entry_names(directory)]


def entry_names(directory: Path) -> list[str]:
    """The names of what is in a directory, in order; nothing if it is not there."""
    try:
        with files.estale_as_missing():
            return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def rename(path: Path, target: Path) -> None:
    """Rename a file of a batch that is ours alone, to a name that nobody else gives.

    On NFS a request whose answer was lost is sent again, and then there is nothing left to rename.

    Raises:
        FileNotFoundError: it is under neither name; the batch is somebody else's.
    """
    try:
        os.rename(path, target)
    except FileNotFoundError:
        if not os.path.lexists(target):
            raise


def fsync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems do not know this
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
