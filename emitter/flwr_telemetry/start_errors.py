"""Keeps the errors of sidecars that died before they had a log, in the file ``start-errors.log``.

The process that starts a sidecar writes one line with the number of such starts. The sidecar's standard error
follows that line. Each start writes the file anew, so it stays small. A sidecar that has a log removes it.

A program that can start no sidecar at all writes the reason with the number 0. This module never raises.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import files, system
from .errors import TelemetryError
from .layout import HostPaths
from .presence import NAME

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
_HEAD = NAME + ": {} starts since {} without a life\n"
_WORDS = tuple(_HEAD.split())
_PAUSES_S = (0.0, 0.0, 0.0, 60.0, 600.0, 3600.0)
"""The pause after each number of starts in vain; ``respawn_s`` may be longer."""

_MAX_HEAD_BYTES = 120
_MAX_TAIL_BYTES = 4096
_MAX_LINE = 300


class StartErrors:
    """The starts in vain since the last sidecar that had a log.

    Args:
        starts: how many there were; 0 if none could be tried.
        since: the time of the first one, ISO 8601 in UTC.
        last_line: the last line that the last one wrote; empty if it wrote nothing.
    """

    def __init__(self, starts: int, since: str, last_line: str) -> None:
        self.starts: int = starts
        self.since: str = since
        self.last_line: str = last_line

    @property
    def pause_s(self) -> float:
        """The least time until the next start, in seconds; it grows, because such a fault may last."""
        return _PAUSES_S[min(self.starts, len(_PAUSES_S) - 1)]

    def __str__(self) -> str:
        """One sentence for people."""
        if not self.starts:
            return f"no sidecar could be started since {self.since}: {self.last_line}"
        times = "once" if self.starts == 1 else f"{self.starts} times"
        said = self.last_line or "it said nothing, so it was killed or still loads"
        return f"a sidecar was started {times} since {self.since}, and never lived: {said}"


def read(host: HostPaths) -> StartErrors | None:
    """The starts in vain since the last sidecar that had a log; None if there are none."""
    try:
        with files.opened(host.start_errors, os.O_RDONLY) as descriptor:
            size_bytes = os.fstat(descriptor).st_size
            head = system.pread(descriptor, _MAX_HEAD_BYTES, 0).partition(b"\n")[0]
            start = max(len(head) + 1, size_bytes - _MAX_TAIL_BYTES)
            tail = system.pread(descriptor, _MAX_TAIL_BYTES, start)
    except (OSError, TelemetryError):
        return None
    words = head.decode("ascii", "replace").split()
    if len(words) != len(_WORDS) or not words[1].isdecimal():
        return None
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    last = "".join(filter(str.isprintable, lines[-1])) if lines else ""
    return StartErrors(int(words[1]), words[4], last[:_MAX_LINE])


def begin(host: HostPaths) -> int | None:
    """Count a start; a descriptor for the sidecar's standard error, or None if the file cannot be written."""
    known = read(host)
    return _write(host, 1, "") if known is None else _write(host, known.starts + 1, known.since)


def refuse(host: HostPaths, reason: str) -> None:
    """Write why this process can start no sidecar, unless the file has this reason, or starts, already."""
    known = read(host)
    if known is None or not (known.starts or known.last_line == reason[:_MAX_LINE]):
        descriptor = _write(host, 0, "")
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(descriptor, f"{reason}\n".encode())
            os.close(descriptor)


def _write(host: HostPaths, starts: int, since: str) -> int | None:
    since = since or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        descriptor = files.open_file(host.start_errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except (OSError, TelemetryError):
        return None
    with contextlib.suppress(OSError):  # a full disk prevents no start
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _HEAD.format(starts, since).encode())
    return descriptor


def clear(host: HostPaths) -> None:
    """Remove the file, because this sidecar has a log now. Its further output is discarded."""
    with contextlib.suppress(OSError):
        if files.names(host.start_errors, _STANDARD_ERROR):
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), _STANDARD_OUTPUT)
                os.dup2(null.fileno(), _STANDARD_ERROR)
        os.unlink(host.start_errors)
