"""Where nobody reaps: a sidecar that has ended and is left as a zombie, in a container above all.

What we start is no child of ours: init inherits and reaps it. In a container the first process may be the
training itself, which then has a child that it never asked for; we reap it, exactly that one. Or the first
process is a program that reaps nothing. Then every sidecar would leave one zombie more for the life of the
container, so that no more than two are started; the spool keeps the events, and ``docker run --init`` is the
cure. Some first processes reap now and then only: a zombie that was noted at the last start, some time ago,
and is one still tells them apart.

Asked only before a start, which happens every minute at most. This room must never reap a child of the
training's own, and never wait for anything.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from . import files
from .errors import NobodyReapsError, TelemetryError
from .layout import HostPaths

_MAX_STATE_BYTES = 64 * 1024
NOTED_FOR_S = 10.0
"""An init that looks now and then has reaped by then."""

_ZOMBIE = "Z"
_NUMBERS = "/proc/self/ns/pid"
"""In which process numbers mean what they mean here."""


def take_former(host: HostPaths, noted: str, noted_for_s: float) -> str:
    """Reap the last sidecar of this host, if it has ended and is our child.

    Args:
        host: this one.
        noted: what this returned at the last start.
        noted_for_s: how long ago that was, in seconds.

    Returns:
        The process, if it has ended and somebody else has yet to reap it; else nothing.

    Raises:
        NobodyReapsError: the one that was noted has not been reaped since.
    """
    if noted_for_s >= NOTED_FOR_S and _is_left(noted):
        msg = "a sidecar that has ended is reaped by nobody; start the container with an init (--init)"
        raise NobodyReapsError(msg)
    pid = _former(host)
    found = None if pid is None else _status(pid)
    if pid is None or found is None or found.state != _ZOMBIE or found.session == os.getsid(0):
        return ""  # ours are started in a session of their own; one in ours was started by the training
    if found.parent != os.getpid():
        return f"{pid} {found.start}"
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return ""


def _is_left(noted: str) -> bool:
    """Whether a process that was noted is a zombie still."""
    pid, _, start = noted.partition(" ")
    found = _status(int(pid)) if pid.isdecimal() else None
    return found is not None and (found.state, found.start) == (_ZOMBIE, start)


def birth(pid: int) -> str:
    """What tells a process from every other that had or has its number, here or in another container.

    Empty where there is no such process, or where nothing tells.
    """
    found = _status(pid)
    try:
        return "" if found is None else f"{os.readlink(_NUMBERS)} {found.start}"
    except OSError:
        return ""


def lives(pid: int, born: str) -> bool:
    """Whether a process that ``birth`` told of is there and no zombie; true where nothing tells."""
    found = _status(pid)
    return found is None or (found.state != _ZOMBIE and birth(pid) == born)


def _former(host: HostPaths) -> int | None:
    """The process that ``sidecar.json`` tells of, if its number still means that one.

    A sidecar writes it before anything else. The number alone may have become that of a child of the training
    that waits for it; above all where containers of one name share a home, whose numbers are all small.
    """
    try:
        told = json.loads(files.read_bytes(host.state, _MAX_STATE_BYTES))
        pid, born = told["pid"], told["born"]
    except (OSError, ValueError, LookupError, TypeError, TelemetryError):
        return None
    return pid if type(pid) is int and pid > 1 and born and born == birth(pid) else None


class _Status(NamedTuple):
    """What proc(5) tells of a process."""

    state: str
    parent: int
    session: int
    start: str


def _status(pid: int) -> _Status | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return _Status(fields[0], int(fields[1]), int(fields[3]), fields[19])
