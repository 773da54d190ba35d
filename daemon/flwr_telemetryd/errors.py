"""The errors of the daemon and of its command, and the exit codes.

An answer of the collector is no error: ``delivery`` turns each one into an outcome.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path

from flwr_telemetry.errors import FULL_ERRNOS, SpoolFullError, TelemetryError, from_os_error


class SidecarError(Exception):
    """Base of every error of this package."""


class LostRaceError(SidecarError):
    """Another sidecar won a rename and does the work now; not a fault."""


class ServiceError(SidecarError):
    """The service cannot be installed, changed or queried on this machine."""


class UnusableHomeError(SidecarError):
    """The telemetry directory cannot be read or written."""


class NoOffsetError(UnusableHomeError):
    """A relay cannot keep its offset, because the file for it cannot be written or holds something else."""


class NoSuchFileError(SidecarError):
    """The named file cannot be relayed."""


class FileSinkError(SidecarError):
    """A relay cannot deliver through a home that itself delivers into a file."""


class AnotherRelayError(SidecarError):
    """Another process relays the same file."""


class DemoError(SidecarError):
    """The demo could not run to its end."""


def describe(error: OSError | TelemetryError | SidecarError, path: Path | None) -> str:
    """An error as one sentence for people, with the repair.

    Args:
        error: the error.
        path: the file of the error, if the error does not name it.
    """
    if isinstance(error, OSError):
        return str(from_os_error(error, str(error.filename or path or "a file")))
    return str(error)


def attempt(path: Path, step: Callable[[Path], object]) -> list[str]:
    """Do something with a file; a sentence if that fails, nothing if the file is missing."""
    try:
        step(path)
    except FileNotFoundError:
        pass
    except (OSError, TelemetryError) as error:
        return [describe(error, path)]
    return []


def is_full(error: Exception) -> bool:
    """Whether an error means that the disk or the quota has no space or no inode left."""
    return isinstance(error, SpoolFullError) or getattr(error, "errno", None) in FULL_ERRNOS


class ExitCode(enum.IntEnum):
    """The exit codes of the commands."""

    OK = 0
    """Everything is delivered, or there was nothing to do."""
    UNDELIVERED = 1
    """Something could not be delivered now; it is kept."""
    USAGE = 2
    """The command line is not valid."""
    DISABLED = 3
    """Telemetry is off, and the command needs it on."""
    BUSY = 4
    """Another sidecar has this home and did not end in time, or another relay has the file."""
    UNUSABLE = 5
    """The home cannot be read or written."""
