"""On a shared home, the processes of a machine take turns at a spool.

The kernel locks a directory while the file server is asked to create or rename a file in it, or to list it.
Who asks can be ended meanwhile. Who waits for the kernel's lock cannot, not even by SIGKILL, and the server
may be away for hours. So the processes of a machine ask one after the other, and wait for their turn asleep.

A turn is a Unix socket with an abstract name, which one process at a time can have. It needs no file and ends
with its process. Where no such socket can be had, as on other systems than Linux, all have the turn.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import sys
import time
import zlib

_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.0003, 0.01
_LOOK_EVERY = 100
"""After so many pauses, about a second, a waiting process looks who has the turn."""

_CREDENTIALS = struct.Struct("3i")
_STOPPED = frozenset("Tt")


class Turn:
    """The turn at one directory, for one thread at a time; used by ``with``.

    Args:
        directory: an absolute path.
    """

    def __init__(self, directory: str) -> None:
        self._name = f"\0flwr-telemetry-{os.geteuid()}-{zlib.crc32(os.fsencode(directory)):08x}"
        self._socket: socket.socket | None = None

    def __enter__(self) -> None:
        pause_s = _LEAST_PAUSE_S
        for number in itertools.count(1):
            if not self._is_taken() or (number % _LOOK_EVERY == 0 and self._is_held_in_vain()):
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _MOST_PAUSE_S)

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the next process have its turn. A forked child calls this, because it inherits the socket."""
        held, self._socket = self._socket, None
        if held is not None:
            held.close()

    def _is_taken(self) -> bool:
        """Whether another process has the turn; otherwise, this process has it now."""
        if sys.platform != "linux":
            return False
        try:
            held = socket.socket(socket.AF_UNIX)
        except OSError:
            return False
        try:
            held.bind(self._name)
            held.listen()
        except OSError as error:
            held.close()
            return error.errno == errno.EADDRINUSE
        self._socket = held
        return False

    def _is_held_in_vain(self) -> bool:
        """Whether the turn is held by a stopped process, or by another user, who may mean harm."""
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.setblocking(False)
                asking.connect(self._name)
                packed = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, user_id, _ = _CREDENTIALS.unpack(packed)
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b") ")[2][:1].decode()
        except OSError:
            return False
        return user_id != os.geteuid() or state in _STOPPED
