"""Delete what was not sent, on every host of a home, so that opting out strands nothing.

A sidecar that finds the user's file saying no deletes what waits (``unsent``). ``flwr-telemetry disable``
deletes the books, too (``all_but_the_past``), so that nothing is left but the settings and ``sent/``.

This room must never follow a link, and never touch ``sent/`` or the sidecar's lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.settings import Consent

from ..errors import describe
from ..spool.directory import (
    check_ownership,
    check_root,
    entry_names,
    foreign_host_entries,
    known_hosts,
    listing,
)


def remove_temporary_files(host: HostPaths) -> None:
    """Delete the temporary files of writes and purges that a death cut short, as far as possible.

    Only a sidecar that is surely alone on its host may call this.
    """
    with contextlib.suppress(OSError, TelemetryError):
        check_ownership(host)
        for directory in (host.root, host.rejected, host.sent):
            for name in entry_names(directory):
                if name.endswith(files.PART_SUFFIX):
                    (directory / name).unlink(missing_ok=True)
        remove_leftovers(host)


log = logging.getLogger("flwr_telemetryd")


_ASIDE = ".purged"


_KEPT_BY_NFS = ".nfs"


def if_asked(home: Home, consent: Consent) -> None:
    """Delete what was not sent if it is the user's own file that says no.

    A site's no, another user's process or a file that cannot be understood stop telemetry, but purge nothing.
    """
    if not consent.enabled and consent.decided_by == "user file" and not consent.malformed:
        for problem in unsent(home):
            log.warning("not purged: %s", problem)


def unsent(home: Home) -> list[str]:
    """Rename every ``spool/``, ``work/`` and ``outbox/`` aside and delete them.

    A writer that still appends to a segment of a spool that went aside finds that its path is gone, reads
    consent and stops. What was sent before stays: it is the record of the past.

    Returns:
        What could not be deleted, one sentence each.
    """
    return [
        problem
        for host in known_hosts(home)
        for problem in _purge(host, (host.spool, host.work, host.outbox))
    ]


def everything_but_sent(home: Home) -> list[str]:
    """The same, and everything else on every host but ``sent/`` and the lock, which is never unlinked."""
    problems = foreign_host_entries(home)
    for host in known_hosts(home):
        problems += _purge(host, [room for room in host.directories if room != host.sent])
        for path in listing(host.root):
            if _is_book(host, path):
                problems += _attempt(path, os.unlink)
    heartbeats = presence.heartbeat_files(home)
    for path in listing(home.telemetry):
        is_draft = path.name.startswith(f".{home.config.name}.") and path.name.endswith(files.PART_SUFFIX)
        if is_draft or (path in heartbeats and not path.is_dir()):
            problems += _attempt(path, os.unlink)
    return problems


def remove_leftovers(host: HostPaths) -> list[str]:
    """Delete what a purge that was killed had renamed aside; what could not be deleted."""
    problems = []
    for left in listing(host.root):
        if left.name.endswith(_ASIDE):
            problems += _attempt(left, _delete)
    return problems


def _is_book(host: HostPaths, path: Path) -> bool:
    """Whether this is one of a sidecar's single files, an older log or a draft of one of them."""
    kept = (host.dropped, host.not_before, host.state, host.log)
    return any(path.name.startswith((known.name, f".{known.name}.")) for known in kept)


def _purge(host: HostPaths, rooms: Iterable[Path]) -> list[str]:
    """Delete these directories of a host, and what an earlier purge left that was killed."""
    problems = _attempt(host.root, lambda _: check_root(host))
    if problems:
        return problems
    problems += remove_leftovers(host)
    for directory in rooms:
        aside = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}{_ASIDE}")
        try:
            os.rename(directory, aside)
        except FileNotFoundError:
            pass  # or NFS did it, and says so to a request that it sent again
        except OSError as error:
            problems.append(describe(error, directory))  # the others can
            continue
        problems += _attempt(aside, _delete)
    return problems


def _delete(path: Path) -> None:
    """Delete a directory, or what stands in the place of one: to open a FIFO would take for ever."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)  # what one file resists is done to all the others
    if os.path.lexists(path) and not _waits_for_closes(path):
        shutil.rmtree(path)  # says why not


def _waits_for_closes(directory: Path) -> bool:
    """Whether NFS itself will delete what is left, when the last process that has it open closes it."""
    names = [name for _, _, found in os.walk(directory) for name in found]
    return bool(names) and all(name.startswith(_KEPT_BY_NFS) for name in names)


def _attempt(path: Path, delete: Callable[[Path], object]) -> list[str]:
    """What keeps us from deleting something, as a sentence; nothing if it is gone."""
    try:
        delete(path)
    except FileNotFoundError:
        pass
    except (OSError, TelemetryError) as error:
        return [describe(error, path)]
    return []
