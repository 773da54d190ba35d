"""What can go wrong in the sidecar and the command, as one small tree.

    SidecarError
    ├── LetGoError          somebody else took over what we were working on; not a fault
    ├── ServiceError        no service can be put in place, or asked, here; the message says why
    ├── UnusableHomeError   the directory cannot be used; the message says why and what to do
    │   └── NoCursorError   how far a file was relayed cannot be noted beside it, or told from what is there
    ├── NoSuchFileError     there is no file that can be relayed
    ├── NoWayOutError       the home delivers into a file itself
    └── AnotherRelayError   another relay is at work on the same file

The outside world's answers are no errors here: ``sinks`` turns every one of them into an outcome.
"""

from __future__ import annotations

import enum


class SidecarError(Exception):
    """Base of every error of this package."""


class LetGoError(SidecarError):
    """A rename was lost to another sidecar: it has the work now."""


class ServiceError(SidecarError):
    """The service cannot be installed, changed or asked on this machine."""


class UnusableHomeError(SidecarError):
    """The telemetry directory cannot be read or written."""


class NoCursorError(UnusableHomeError):
    """A relay cannot note how far it came: the place cannot be written to, or something else stands there."""


class NoSuchFileError(SidecarError):
    """What was named is no file that can be relayed."""


class NoWayOutError(SidecarError):
    """A home that delivers into a file cannot be the way out of another one."""


class AnotherRelayError(SidecarError):
    """The same file is being relayed by another process."""


class ExitCode(enum.IntEnum):
    """How the commands end.

    Attributes:
        OK: all is delivered, or nothing was to be done.
        UNDELIVERED: something is left that could not be delivered now; it is kept.
        USAGE: the command line cannot be understood.
        DISABLED: telemetry is off, and the command needs it on.
        BUSY: another sidecar serves this home, and did not end in time; or another relay has the file.
        UNUSABLE: the home cannot be read or written.
    """

    OK = 0
    UNDELIVERED = 1
    USAGE = 2
    DISABLED = 3
    BUSY = 4
    UNUSABLE = 5
