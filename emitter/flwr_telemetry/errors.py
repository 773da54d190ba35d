"""Defines the errors of the emitter, as one small tree.

    TelemetryError
    ├── InvalidEventError        the caller's event is refused; nothing was written
    ├── SettingsError            a settings file cannot be used
    ├── UnsupportedPlatformError this system has no file locks that the emitter knows
    ├── LoadingError             the event needs something that is not there yet; it is kept in memory
    ├── StartError               no sidecar can be started, or none has lived; the event is kept
    │   └── NobodyReapsError     a sidecar would be left as a zombie, so none is started
    └── SpoolError               the event is valid but could not be kept
        ├── HomeUnavailableError no home directory is known
        ├── SpoolUnsafeError     a directory or file is one that the emitter may not write to
        ├── SpoolFullError       a cap or the disk is reached
        ├── SpoolSlowError       the file server of the home does not answer; the event is kept in memory
        └── SpoolWriteError      the system refused (read-only, no permission, short write, …)

``event()`` never raises them: its future carries one of them, or a log line names it. Each message says what
to do. No message holds the content of an event.
"""

from __future__ import annotations

import errno
import sys


class TelemetryError(Exception):
    """Base of all other errors here."""


class InvalidEventError(TelemetryError, ValueError):
    """The event type or the details do not have the documented form."""


class SettingsError(TelemetryError):
    """A settings file is malformed; the message names the file and, where known, the line."""


class UnsupportedPlatformError(TelemetryError):
    """This system has neither the file locks of POSIX nor those of Windows; nothing is recorded here."""


class LoadingError(TelemetryError):
    """The event has to wait for the imports, the source ID or the settings. No future carries this error."""


class StartError(TelemetryError):
    """No sidecar can be started from this process, or none has lived. It is logged; no future carries it."""


class NobodyReapsError(StartError):
    """The first process of this container reaps no orphans."""


class SpoolError(TelemetryError):
    """The event could not be written to the spool."""


class HomeUnavailableError(SpoolError):
    """There is no home directory: no ``FLWR_HOME``, no ``HOME`` and no password entry."""


class SpoolUnsafeError(SpoolError):
    """A path of the spool is a link or a device, belongs to another user, or others can write to it."""


class SpoolFullError(SpoolError):
    """``spool_max_mib`` is reached, or the disk or quota is full; the event is dropped."""


class SpoolSlowError(SpoolError):
    """The file server of the home does not answer. The event is in memory, and is written when it does.

    If too many events wait, this one is dropped, as the message says.
    """

    is_lasting = False
    """Whether to warn a person. A server that works may be slow for a moment, above all for a first event."""


class SpoolWriteError(SpoolError):
    """The system refused to write; the message quotes the system."""


UNSAFE_ERRNOS = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
"""The system's errors if a link, a FIFO or a device is in the place of a plain file."""

BUSY_ERRNOS = frozenset({errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK})
"""Its errors for a lock that another process holds. Any other error means that locks do not work there."""

UNREACHABLE_ERRNOS = frozenset(
    getattr(errno, name)
    for name in "EIO ETIMEDOUT ENOTCONN EHOSTDOWN EHOSTUNREACH ENETUNREACH ECONNREFUSED ECONNRESET "
    "ECONNABORTED EREMOTEIO ESHUTDOWN".split()
    if hasattr(errno, name)
)
"""Its errors for a file server that has not answered for a time."""

UNSUPPORTED_ERRNOS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Its errors for a call that a file system does not know. The last two are one number on Linux only."""

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Its errors for a disk or a quota without space or inodes."""


def is_unreachable(error: BaseException) -> bool:
    """Whether an error, or the one that it translates, says that a file server gave no answer."""
    cause = error.__cause__ if isinstance(error, TelemetryError) else error
    return isinstance(cause, OSError) and cause.errno in UNREACHABLE_ERRNOS


_MAX_CAUSES = 20


def raised_by_handler(error: BaseException | None) -> BaseException | None:
    """The exception, among an error and its causes, that a signal handler of the program raised; else None.

    Such an exception has to reach the program, for example if ``signal.alarm`` limits the time of a call.
    Python calls a handler with the frame that it interrupts. So in the trace of a handler's exception, one
    function has the frame of its caller as an argument.
    """
    for _ in range(_MAX_CAUSES):
        if error is None:
            return None
        trace = error.__traceback__
        while trace is not None:
            frame, trace = trace.tb_frame, trace.tb_next
            before = frame.f_back
            for name in frame.f_code.co_varnames[: frame.f_code.co_argcount + 1]:  # one more for `*args`
                value = frame.f_locals.get(name)
                given = value if type(value) is tuple else (value,)
                if before is not None and any(one is before for one in given):
                    return error
        error = error.__cause__ or error.__context__
    return None


def reraise_from_handler() -> None:
    """In an ``except`` block: raise what a signal handler has raised, if it is the cause of the error."""
    if (theirs := raised_by_handler(sys.exception())) is not None:
        raise theirs


_ADVICE = {
    errno.EROFS: "the file system is read-only; set FLWR_HOME to a writable directory",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "no permission; set FLWR_HOME to a directory of your own"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a part of the path is a file; move it or set FLWR_HOME"),
    errno.EMFILE: "the process has no file descriptor left; raise `ulimit -n`",
    errno.ENFILE: "the system has no file descriptor left",
}


def from_os_error(error: OSError, path: str) -> SpoolError:
    """The error of this tree for a system error about ``path``; there is one for every errno."""
    number = error.errno or 0
    reason = error.strerror or type(error).__name__
    if number in FULL_ERRNOS:
        return SpoolFullError(f"{path}: {reason}; free some space or set FLWR_TELEMETRY_ENABLED=0")
    if number in UNSAFE_ERRNOS:
        return SpoolUnsafeError(f"{path} is no plain file or directory ({reason}); remove it")
    advice = _ADVICE.get(number, "set FLWR_TELEMETRY_ENABLED=0 if this persists")
    return SpoolWriteError(f"{path}: {reason}; {advice}")
