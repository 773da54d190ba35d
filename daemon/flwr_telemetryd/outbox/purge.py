"""Deletes what was not sent, on every host of a home, so that an opt-out leaves nothing behind.

After an opt-out in the user's settings file, a sidecar deletes what waits (``if_asked``).
``flwr-telemetry disable`` deletes the state files, too (``everything_but_sent``): the settings and ``sent/``
stay. Only ``flwr-telemetry purge`` deletes all (``whole``). This module never follows a link.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import Consent

from ..errors import attempt
from ..spool.directory import (
    check_ownership,
    check_root,
    entry_names,
    foreign_host_entries,
    known_hosts,
    listing,
)

log = logging.getLogger("flwr_telemetryd")

_PURGED_SUFFIX = ".purged"
"""The suffix of a directory that is renamed before it is deleted."""


def if_asked(home: Home, consent: Consent) -> None:
    """Delete what was not sent if the user's own settings file opts out.

    If the site opts out, the process is another user's, or a file is malformed, nothing is deleted.
    """
    if not consent.enabled and consent.decided_by == "user file" and not consent.malformed:
        for problem in unsent(home):
            log.warning("not purged: %s", problem)


def unsent(home: Home) -> list[str]:
    """Delete ``spool/``, ``work/`` and ``outbox/`` of every host.

    Each is renamed first. A writer that still appends to a segment finds that its path is gone, reads the
    settings and stops.

    Returns:
        One sentence for each thing that could not be deleted.
    """
    return [problem for host in known_hosts(home) for problem in unsent_of(host)]


def unsent_of(host: HostPaths) -> list[str]:
    """As ``unsent``, for one host."""
    return _purge(host, (host.spool, host.work, host.outbox))


def everything_but_sent(home: Home) -> list[str]:
    """As ``unsent``, with every other file of every host but ``sent/`` and the lock, and all heartbeats."""
    problems = foreign_host_entries(home)
    for host in known_hosts(home):
        problems += _purge(host, [directory for directory in host.directories if directory != host.sent])
        for path in listing(host.root):
            if _is_state_file(host, path):
                problems += attempt(path, os.unlink)
    heartbeats = presence.heartbeat_files(home)
    for path in listing(home.telemetry):
        is_temporary = path.name.startswith(f".{home.config.name}.") and path.name.endswith(files.PART_SUFFIX)
        if is_temporary or (path in [*heartbeats, home.noticed] and not path.is_dir()):
            problems += attempt(path, os.unlink)
    return problems


def whole(home: Home) -> list[str]:
    """Delete ``telemetry/`` with everything in it; a sentence for each thing that could not be deleted.

    It is renamed first, so that every sidecar finds its directory gone, and ends.
    """
    renamed = home.path / f".{home.telemetry.name}.{os.urandom(4).hex()}{_PURGED_SUFFIX}"
    if attempt(home.telemetry, functools.partial(os.rename, dst=renamed)):
        # A volume may be mounted there.
        problems = [problem for path in listing(home.telemetry) for problem in attempt(path, _delete)]
        return problems + attempt(home.telemetry, os.rmdir)
    leftovers = (path for path in listing(home.path) if path.name.startswith(f".{home.telemetry.name}."))
    return [
        problem
        for path in leftovers
        if path.name.endswith(_PURGED_SUFFIX)
        for problem in attempt(path, _delete)
    ]


def remove_temporary_files(host: HostPaths) -> None:
    """Delete the temporary files of writes and purges that a death cut short, as far as possible.

    Only a sidecar that is certainly alone on its host may call this.
    """
    with contextlib.suppress(OSError, TelemetryError):
        check_ownership(host)
        for directory in (host.root, host.rejected, host.sent):
            for name in entry_names(directory):
                if name.endswith(files.PART_SUFFIX):
                    (directory / name).unlink(missing_ok=True)
        remove_leftovers(host)


def remove_leftovers(host: HostPaths) -> list[str]:
    """Delete directories that a killed purge had renamed; a sentence for each that could not be deleted."""
    problems = []
    for path in listing(host.root):
        if path.name.endswith(_PURGED_SUFFIX):
            problems += attempt(path, _delete)
    return problems


def _is_state_file(host: HostPaths, path: Path) -> bool:
    """Whether this is a state file, an older log, or a temporary file of one of them."""
    kept = (host.dropped, host.not_before, host.state, host.log, host.start_errors, host.machine)
    return any(path.name.startswith((known.name, f".{known.name}.")) for known in kept)


def _purge(host: HostPaths, directories: Iterable[Path]) -> list[str]:
    """Delete these directories of a host; a sentence for each that could not be deleted."""
    problems = attempt(host.root, lambda _: check_root(host))
    if problems:
        return problems
    problems += remove_leftovers(host)
    for directory in directories:
        renamed = directory.with_name(f".{directory.name}.{os.urandom(4).hex()}{_PURGED_SUFFIX}")
        # If NFS repeats the rename, it reports a missing directory; the renamed one is deleted even then.
        found = attempt(directory, functools.partial(os.rename, dst=renamed))
        problems += found or attempt(renamed, _delete)
    return problems


def _delete(path: Path) -> None:
    """Delete a directory, or something else in its place, without opening it: a FIFO would block."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    import shutil

    shutil.rmtree(path, ignore_errors=True)  # if one cannot be deleted, the others go
    if os.path.lexists(path) and not _waits_for_closes(path):
        shutil.rmtree(path)  # raises the reason


def _waits_for_closes(directory: Path) -> bool:
    """Whether only files are left that NFS renamed at their unlinking and deletes at their last close."""
    names = [name for _, _, found in os.walk(directory) for name in found]
    return bool(names) and all(name.startswith(".nfs") for name in names)
