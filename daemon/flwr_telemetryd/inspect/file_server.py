"""Tells whether the file server of a shared home answers, so that no command waits for one that is away.

A call on such a home may wait for ever, and not even SIGKILL ends that. Another process may keep the kernel's
lock of a directory meanwhile. So a child process makes the first calls, and a command goes on only
after their answer. The child makes them again and again, until the command ends. Nobody waits for the child.
A home of this machine alone is not asked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from flwr_telemetry import mounts, system
from flwr_telemetry.errors import UNREACHABLE_ERRNOS
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import polls

from ..errors import UnusableHomeError

ANSWER_S = 5.0
"""The longest wait for an answer."""

_AGAIN_S = 1.0
_END_S, _END_POLL_S = 1.0, 0.001
_YES, _NO = b"y", b"n"


def check(path: Path, give_up: Callable[[str], None] | None = None) -> None:
    """Return once the file server of a path answers, or at once if there is none.

    Args:
        path: absolute, and usually that of a home; it need not exist.
        give_up: called by another thread if the server stops answering later. It has to end the process: the
            calling thread may never come back from a system call.

    Raises:
        UnusableHomeError: the server does not answer; the message has an advice.
    """
    if not system.WINDOWS:
        _check(path, give_up)


# For Windows, mypy reads no further.
assert not (TYPE_CHECKING and system.WINDOWS)


def _check(path: Path, give_up: Callable[[str], None] | None) -> None:
    mount = mounts.find(path)
    if mount is None or not mount.is_shared:
        return
    advice = "try again when it does, or set FLWR_HOME to a directory of this machine"
    problem = f"the file server of {mount.point} ({mount.kind}) does not answer; {advice}"
    try:
        child, answers = _ask_again_and_again(path, mount.point)
    except OSError:
        return  # no further process is allowed here
    is_there = _answers(answers, ANSWER_S)
    if is_there and give_up is not None:
        Thread(target=_watch, args=(answers, lambda: give_up(problem)), daemon=True).start()
        return
    os.close(answers)
    _end(child)
    if not is_there:
        raise UnusableHomeError(problem)


def _answers(answers: int, wait_s: float) -> bool:
    """Whether the next answer comes in time."""
    ready, _, _ = select.select([answers], [], [], wait_s)
    return bool(ready) and os.read(answers, 1) != _NO


def _watch(answers: int, give_up: Callable[[], None]) -> None:
    while _answers(answers, _AGAIN_S + ANSWER_S):
        pass
    give_up()


def _end(child: int) -> None:
    """End the child, which would be a zombie of the program that replaces this process; it may be stuck."""
    with contextlib.suppress(OSError):
        os.kill(child, signal.SIGKILL)
        for _ in polls(_END_S, _END_POLL_S):
            if os.waitpid(child, os.WNOHANG)[0]:
                break


def _ask_again_and_again(path: Path, mount_point: str) -> tuple[int, int]:
    """Start the child; its process, and the end of a pipe from which its answers can be read."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, reading
    try:
        os.setsid()  # Ctrl-C is for the command alone, which may have something to say then
        # A caller of the command may read its streams to their end, and must not wait for a stuck child.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.dup2(writing, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        reader_ends = select.poll()
        reader_ends.register(3, 0)
        is_over: object = False
        while not is_over:
            os.write(3, _YES if _is_answered(path, mount_point) else _NO)
            is_over = reader_ends.poll(_AGAIN_S * 1000)
    finally:
        os._exit(0)


def _is_answered(path: Path, mount_point: str) -> bool:
    """Whether the server answers, also with an error; may never return."""
    # For a while after its start a server answers all requests but those that open a file.
    requests: tuple[Callable[[], object], ...] = (
        lambda: os.stat(path),
        lambda: os.close(os.open(Home(path).source, os.O_RDONLY | os.O_NONBLOCK)),
        lambda: os.statvfs(mount_point),
    )
    for request in requests:
        try:
            request()
        except OSError as error:
            if error.errno in UNREACHABLE_ERRNOS:  # as on a ``soft`` mount
                return False
    return True
