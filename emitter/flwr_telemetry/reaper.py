"""Reaps the last sidecar if it is a zombie, in a container above all.

A sidecar is no child of the process that starts it: init adopts and reaps it. In a container, process 1 may
be the training itself, which then has a child that it does not know. This module reaps that one.

Process 1 may also be a program that reaps nothing. Every sidecar would then leave a zombie until the
container ends, so no more than two are started. The spool keeps the events, and ``docker run --init`` is the
remedy. Some programs reap now and then. So only a zombie that was noted at the last start, and is still there
after ``NOTED_FOR_S``, proves that no process reaps.

Called only before a start. This module never reaps a child of the training's own, and never waits.
"""

from __future__ import annotations

import contextlib
import os

from . import system
from .errors import NobodyReapsError
from .layout import HostPaths
from .presence import ZOMBIE, birth, process_status, sidecar_state

NOTED_FOR_S = 10.0
"""After this time, even a program that reaps now and then has reaped."""


def take_former(host: HostPaths, noted: str, noted_for_s: float) -> str:
    """Reap the last sidecar of this host, if it is a zombie and a child of this process.

    Args:
        host: this one.
        noted: the result at the last start.
        noted_for_s: the age of that result, in seconds.

    Returns:
        The process, if it is a zombie that another process has to reap; else an empty text.

    Raises:
        NobodyReapsError: the noted process has not been reaped since.
    """
    if system.WINDOWS:
        return ""  # an ended process is there for as long as another one has it open, and nobody reaps it
    if noted_for_s >= NOTED_FOR_S and _is_left(noted):
        raise NobodyReapsError("no process reaps ended sidecars; start the container with an init (--init)")
    pid = _former(host)
    found = None if pid is None else process_status(pid)
    if pid is None or found is None or found.state != ZOMBIE or found.session == os.getsid(0):
        return ""  # a sidecar has a session of its own; a child in ours was started by the training
    if found.parent != os.getpid():
        return f"{pid} {found.start}"
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return ""


def _is_left(noted: str) -> bool:
    """Whether the noted process is still a zombie."""
    pid, _, start = noted.partition(" ")
    found = process_status(int(pid)) if pid.isdecimal() else None
    return found is not None and (found.state, found.start) == (ZOMBIE, start)


def _former(host: HostPaths) -> int | None:
    """The last sidecar, if its number still means that process.

    A sidecar writes ``sidecar.json`` before anything else. By now the number may belong to a child of the
    training, because containers that share a home have the same small numbers.
    """
    state = sidecar_state(host)
    return state.pid if state is not None and state.born and state.born == birth(state.pid) else None
