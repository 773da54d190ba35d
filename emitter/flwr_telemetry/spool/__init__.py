"""Writes records into the spool of this host; ``emitter.py`` and ``worker.py`` use one writer each.

In:    whole records.
Out:   the open segment, to which all processes of this host append; or whole segments.
Owns:  ``<host>/spool/events.msgpack``, ``<host>/spool/sealed-….msgpack`` until a sidecar takes it, and
       ``<host>/dropped``.
Never: truncates a segment, or waits longer than ``LOCK_WAIT_S`` for the lock of another process.

posix.py    appends under a shared lock, through a descriptor that stays open
windows.py  opens the open segment for each record, and the open is the lock
whole.py    on a shared home: a whole segment for each append, and no lock

All three writers have the same methods. This module has the parts that they share.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import files
from ..errors import SpoolFullError
from ..layout import HostPaths

LOCK_WAIT_S = 0.005
"""The longest wait of an event for a lock of another process."""

TRIES = range(6)
"""The tries of one append, because a sidecar or a person may remove the spool meanwhile."""


class CreationRefusedError(Exception):
    """Telemetry is off by now, so nothing may be created. The event is "disabled", which is no error."""


def check_directories(host: HostPaths) -> None:
    """Raise SpoolUnsafeError unless the spool and the directories above it are safe to write to.

    Raises:
        FileNotFoundError: one is missing.
    """
    for directory in (host.telemetry, host.root, host.spool):
        files.check_directory(directory)


def make_directories(host: HostPaths, may_create: Callable[[], bool]) -> None:
    """Make the spool and all directories above it.

    Raises:
        CreationRefusedError: telemetry is off.
    """
    if not may_create():
        raise CreationRefusedError
    files.make_home(host.telemetry.parent)
    files.ensure_directory(host.telemetry)
    files.ensure_directory(host.root)
    files.ensure_directory(host.spool)


def drop(host: HostPaths, may_create: Callable[[], bool], count: int = 1) -> None:
    """Count events that are dropped at the cap.

    Raises:
        SpoolFullError: always.
        CreationRefusedError: telemetry is off.
    """
    if not host.dropped.exists() and not may_create():
        raise CreationRefusedError
    files.append_bytes(host.dropped, b"\0" * count)
    raise SpoolFullError(
        f"{host.spool} is at its cap (spool_max_mib or `ulimit -f`); run `flwr-telemetry flush`"
    )
