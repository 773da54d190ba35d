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

from . import files
from .errors import NobodyReapsError, TelemetryError
from .layout import HostPaths

_MAX_STATE_BYTES = 64 * 1024
NOTED_FOR_S = 10.0
"""An init that looks now and then has reaped by then."""

_ZOMBIE = "Z"


def take_former(host: HostPaths, noted: int, noted_for_s: float) -> int:
    """Reap the last sidecar of this host, if it has ended and is our child.

    Args:
        host: this one.
        noted: what this returned at the last start.
        noted_for_s: how long ago that was, in seconds.

    Returns:
        The process, if it has ended and somebody else has yet to reap it; else 0.

    Raises:
        NobodyReapsError: the one that was noted has not been reaped since.
    """
    if noted and noted_for_s >= NOTED_FOR_S and _is_zombie_of_its_own(noted):
        msg = "a sidecar that has ended is reaped by nobody; start the container with an init (--init)"
        raise NobodyReapsError(msg)
    pid = _former(host)
    if pid is None or not _is_zombie_of_its_own(pid):
        return 0
    if _parent(pid) != os.getpid():
        return pid
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return 0


def _former(host: HostPaths) -> int | None:
    """The process that ``sidecar.json`` tells of; a sidecar writes it before anything else."""
    try:
        pid = json.loads(files.read_bytes(host.state, _MAX_STATE_BYTES))["pid"]
    except (OSError, ValueError, LookupError, TypeError, TelemetryError):
        return None
    return pid if type(pid) is int and pid > 1 else None


def _is_zombie_of_its_own(pid: int) -> bool:
    """Whether it is a zombie, and in a session that it does not share with us: ours are started in their own.

    As long as it is a zombie its number is not used again. If somebody reaped it, and the number has become
    that of a child of the training that is a zombie in its turn, that one is of the training's session.
    """
    found = _status(pid)
    return found is not None and found[0] == _ZOMBIE and int(found[3]) != os.getsid(0)


def _parent(pid: int) -> int:
    found = _status(pid)
    return 0 if found is None else int(found[1])


def _status(pid: int) -> list[str] | None:
    """The fields of proc(5) from the state on: state, parent, group, session; None where there are none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
