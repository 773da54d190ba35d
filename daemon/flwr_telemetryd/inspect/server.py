"""Tells whether the file server of a shared home answers, so that no command waits for one that is away.

A system call on such a home may wait for ever, and nothing ends it but the end of the process. So another
thread makes the first calls, and a command goes on only after their answer. While the command works, they are
made again and again. On a home of this machine alone, no call and no thread is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from flwr_telemetry import mounts
from flwr_telemetry.layout import Home

from ..errors import UnusableHomeError

ANSWER_S = 5.0
"""The longest wait for an answer."""

_AGAIN_S = 1.0
_NO_ANSWER = {errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
"""The errors of a call that ends by itself while the server is away, as those of a ``soft`` mount do."""


def problem(path: Path) -> str:
    """One sentence, with advice, if the file server of a path does not answer; empty otherwise.

    Args:
        path: absolute, and usually that of a home; it need not exist.
    """
    mount = mounts.find(path)
    if mount is None or not mount.is_shared:
        return ""
    answers: SimpleQueue[bool] = SimpleQueue()
    Thread(target=lambda: answers.put(_answers(path, mount.point)), daemon=True).start()
    with contextlib.suppress(Empty):
        if answers.get(timeout=ANSWER_S):
            return ""
    advice = "try again when it does, or set FLWR_HOME to a directory of this machine"
    return f"the file server of {mount.point} ({mount.kind}) does not answer; {advice}"


def _answers(path: Path, mount_point: str) -> bool:
    """Whether the server answers, also with an error; may never return."""
    # For a while after its start a server answers all requests but those that open a file.
    requests: tuple[Callable[[], object], ...] = (
        lambda: os.stat(path),
        lambda: _open(Home(path).source),
        lambda: os.statvfs(mount_point),
    )
    for request in requests:
        try:
            request()
        except OSError as error:
            if error.errno in _NO_ANSWER:
                return False
    return True


def _open(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def check(home: Home, give_up: Callable[[str], None]) -> None:
    """Return once the file server of a home answers, and go on asking it.

    Args:
        home: the home; it need not exist.
        give_up: called by another thread if the server stops answering. It has to end the process: the
            calling thread may never come back from a system call.

    Raises:
        UnusableHomeError: the server does not answer.
    """
    if told := problem(home.path):
        raise UnusableHomeError(told)
    if mounts.is_shared(home.path):
        Thread(target=_watch, args=(home, give_up), daemon=True).start()


def _watch(home: Home, give_up: Callable[[str], None]) -> None:
    while not (told := problem(home.path)):
        time.sleep(_AGAIN_S)
    give_up(told)
