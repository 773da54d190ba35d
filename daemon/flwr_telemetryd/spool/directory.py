"""The directories of a home: lists them, checks that they belong to this user, and renames files in them.

In: a home or a host. Out: paths and names. On a network file system another host may delete a file at any
moment, so a stale handle counts as a missing file. This module never opens or deletes a file.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

from flwr_telemetry import files, mounts
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.turn import Turn

_NOT_HOST = "."
entry_names = files.entry_names


def turn_at(host: HostPaths) -> Turn:
    """This machine's turn at the spool of a host; on a home that is not shared, nobody waits."""
    return Turn(host.unsent[0], is_shared=_is_shared(host.telemetry))


@functools.cache
def _is_shared(telemetry: Path) -> bool:
    return mounts.is_shared(telemetry)


def check_root(host: HostPaths) -> None:
    """Raise SpoolUnsafeError unless ``telemetry/`` and the host's directory are missing or safe."""
    _check(host.telemetry, host.root)


def check_ownership(host: HostPaths) -> None:
    """As ``check_root``, with all directories of the host."""
    _check(host.telemetry, host.root, *host.directories)


def _check(*directories: Path) -> None:
    for directory in directories:
        with contextlib.suppress(FileNotFoundError), files.estale_as_missing():
            files.check_directory(directory)


def is_ours(host: HostPaths) -> bool:
    """Whether ``check_ownership`` raises nothing."""
    try:
        check_ownership(host)
    except (OSError, TelemetryError):
        return False
    return True


def known_hosts(home: Home) -> list[HostPaths]:
    """Every host that has a directory in this home, and the common archive of hosts that are gone."""
    names, telemetry = [], home.telemetry
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        files.estale_as_missing(),
        os.scandir(telemetry) as entries,
    ):
        names = [entry.name for entry in entries if _is_host(entry)]
    return [HostPaths(telemetry, name) for name in sorted(names)]


def _is_host(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        return not entry.name.startswith(_NOT_HOST) and entry.is_dir(follow_symlinks=False)
    return False


def foreign_host_entries(home: Home) -> list[str]:
    """One sentence for each link to a directory in ``telemetry/``. Such a link is not used as a host."""
    return [
        f"{path} is a link or no directory; remove it"
        for path in listing(home.telemetry)
        if not path.name.startswith(_NOT_HOST) and path.is_symlink() and path.is_dir()
    ]


def listing(directory: Path) -> list[Path]:
    """The paths in a directory, in order of names; none if it is missing."""
    return [directory / name for name in entry_names(directory)]


def rename(path: Path, target: Path) -> None:
    """Rename a file of a batch to a name that no other process gives.

    NFS repeats a request whose answer was lost, and the repeated rename finds nothing to rename.

    Raises:
        FileNotFoundError: neither name exists, because another sidecar has the batch.
    """
    try:
        os.rename(path, target)
    except FileNotFoundError:
        # The client may remember that the target was missing before, so its directory is listed, too.
        if not os.path.lexists(target) and target.name not in entry_names(target.parent):
            raise


def remove_if_empty(directory: Path) -> None:
    """Delete a directory if nothing is in it."""
    with contextlib.suppress(OSError):
        directory.rmdir()
