"""On a shared home, the processes of a machine take turns at a spool.

The kernel locks a directory while the file server is asked to create or rename a file in it, or to list it.
A process that asks can be ended meanwhile. One that waits for the kernel's lock cannot, not even by SIGKILL,
and the server may be away for hours. So the processes of a machine ask one after the other, and wait for
their turn asleep.

A turn is a Unix socket with an abstract name, which one process at a time can have. It needs no file and ends
with its process. Where no such socket can be had, as on other systems than Linux, all have the turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
import zlib

from . import system
from .named import Self
from .presence import STOPPED, process_status

_TRIES = 100_000
_PAUSE_S = 0.001
_CHECK_S = 1.0
"""The time between two checks of a waiting process that the one with the turn runs and is not stopped."""

_CREDENTIALS = struct.Struct("3i")


class Turn:
    """The turn at one directory, for one thread at a time; used by ``with``.

    Args:
        directory: an absolute path.
        is_shared: whether it is on a shared home; otherwise no process waits.
    """

    def __init__(self, directory: str, *, is_shared: bool = True) -> None:
        self._is_shared = is_shared
        self._name = f"\0flwr-telemetry-{system.user_id()}-{zlib.crc32(os.fsencode(directory)):08x}"
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """Wait for the turn."""
        for _ in range(_TRIES):
            if not self._is_taken() or not self._is_worth_waiting():
                return

    def end(self) -> None:
        """Let the next process have its turn. A forked child calls this, because it inherits the socket."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()

    def pass_on(self) -> None:
        """Let others have a turn, and go on after them."""
        self.end()
        self.begin()

    def _is_taken(self) -> bool:
        """Whether another process has the turn; otherwise, this process has it now."""
        if not (system.LINUX and self._is_shared):
            return False
        try:
            held = socket.socket(socket.AF_UNIX)
        except OSError:
            return False
        self._socket = held  # before it has the name, so that a child that is forked now can close it
        try:
            held.bind(self._name)
            held.listen()
        except OSError as error:
            self.end()
            return error.errno == errno.EADDRINUSE
        return False

    def _is_worth_waiting(self) -> bool:
        """Wait for the end of the other process's turn; false if that is stopped, or of another user."""
        if not system.LINUX:
            return False
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.settimeout(_CHECK_S)
            try:
                waiting.connect(self._name)
                while _is_running(waiting):
                    with contextlib.suppress(TimeoutError):
                        waiting.recv(1)  # no process ever sends: the end of the turn ends the connection
                        return True
                return False
            except ConnectionResetError:
                return True
            except OSError:  # the turn has just ended, or too many wait
                time.sleep(_PAUSE_S)
                return True


def _is_running(connected: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user, runs, and is not stopped."""
    try:
        option: int = socket.SO_PEERCRED  # type: ignore[attr-defined,unused-ignore]
        packed = connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
        pid, user_id, _ = _CREDENTIALS.unpack(packed)
        if str(user_id) != system.user_id() or not system.exists(pid):
            return False
        found = process_status(pid)
    except OSError:
        return True
    return found is None or found.state not in STOPPED
