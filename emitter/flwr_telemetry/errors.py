"""What can go wrong in the emitter, as one small tree.

    TelemetryError
    ├── InvalidEventError        the caller's event is refused; nothing was written
    ├── SettingsError            a settings file cannot be used
    ├── UnsupportedPlatformError neither Linux nor macOS
    ├── NobodyReapsError         no sidecar can be started without leaving zombies; the event is kept
    └── SpoolError               the event is valid but could not be kept
        ├── HomeUnavailableError no home directory can be told
        ├── SpoolUnsafeError     a directory or file is not what we may write to
        ├── SpoolFullError       a cap or the disk is reached
        └── SpoolWriteError      the system refused (read-only, no permission, short write, …)

Every one of them reaches a caller only inside the future that ``event()`` returns, if at all. Each message
says what to do. None may hold the *content* of an event.
"""

from __future__ import annotations

import errno


class TelemetryError(Exception):
    """Base of every error of this package."""


class InvalidEventError(TelemetryError, ValueError):
    """The event type or the details are not of the documented form."""


class SettingsError(TelemetryError):
    """A settings file is malformed; the message names the file and, where known, the line."""


class UnsupportedPlatformError(TelemetryError):
    """The spool needs POSIX file locks and renames; nothing is recorded here."""


class NobodyReapsError(TelemetryError):
    """The first process of this container reaps no orphans; never in a future, only in a warning."""


class SpoolError(TelemetryError):
    """The event could not be written to the spool."""


class HomeUnavailableError(SpoolError):
    """There is no home directory: neither ``FLWR_HOME`` nor ``HOME`` nor a password entry."""


class SpoolUnsafeError(SpoolError):
    """A path of the spool is a link, a device, someone else's, or writable by others."""


class SpoolFullError(SpoolError):
    """``spool_max_mib`` is reached, or the disk or quota is full; the event is dropped."""


class SpoolWriteError(SpoolError):
    """The system refused to write; the message carries its word."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNSAFE_ERRNOS = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""What the system says of a link, a FIFO or a device where a plain file is expected."""

BUSY_ERRNOS = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK})
"""What it says of a lock that somebody holds; anything else means that locks do not work there."""

_ADVICE = {
    errno.EROFS: "the file system is read-only; set FLWR_HOME to a writable directory",
    errno.EACCES: "no permission; set FLWR_HOME to a directory of your own",
    errno.EPERM: "no permission; set FLWR_HOME to a directory of your own",
    errno.ENOTDIR: "a part of the path is a file; move it away or set FLWR_HOME",
    errno.EEXIST: "a part of the path is a file; move it away or set FLWR_HOME",
    errno.EMFILE: "the process has no file descriptor left; raise `ulimit -n`",
    errno.ENFILE: "the system has no file descriptor left",
}


def from_os_error(error: OSError, path: str) -> SpoolError:
    """Translate what the system said about ``path`` into this tree: total over every errno."""
    number = error.errno or 0
    word = error.strerror or type(error).__name__
    if number in _FULL:
        return SpoolFullError(f"{path}: {word}; free some space or set FLWR_TELEMETRY_ENABLED=0")
    if number in UNSAFE_ERRNOS:
        return SpoolUnsafeError(f"{path} is no plain file or directory ({word}); remove it")
    advice = _ADVICE.get(number, "set FLWR_TELEMETRY_ENABLED=0 if this persists")
    return SpoolWriteError(f"{path}: {word}; {advice}")
