"""The parts that both writers of the open segment share; ``emitter.py`` takes the one of this system.

In:    whole records, one at a time.
Out:   the open segment, to which all processes of this host append.
Owns:  ``<host>/spool/events.msgpack`` and ``<host>/dropped``.
Never: truncates a segment, or waits longer than ``LOCK_WAIT_S`` for another process.

``posix.py`` appends under a shared lock, through a descriptor that stays open. ``windows.py`` opens the
segment for each record, and the open is the lock. Both have one class, ``Writer``, with the same methods.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import files
from ..errors import SpoolFullError
from ..layout import HostPaths

LOCK_WAIT_S = 0.005
"""No event waits longer than this for another process."""

TRIES = range(6)


class CreationRefusedError(Exception):
    """Consent, read again, does not allow a new spool: telemetry is off, which is no error."""


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
