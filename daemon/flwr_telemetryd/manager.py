"""What a service tells the service manager that started it, by systemd's notification protocol.

One datagram of ``NAME=value`` lines to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)). Without such
a socket nothing is told. This room must never wait for the manager, and never fail a sidecar.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("flwr_telemetryd")

_FEEDS = 4
"""So often in one watchdog interval a sign of life is given at most."""

_MICRO = 1_000_000


class Manager:
    """The service manager of this process, if it has one.

    Args:
        address: its socket, in the file system or, with a leading ``@``, abstract; empty for none.
        watchdog_s: without a sign of life for so long it ends us; infinite for never.
        monotonic: seconds that never run backwards.
    """

    def __init__(
        self,
        address: str = "",
        watchdog_s: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._monotonic = monotonic
        self._fed_at = -math.inf
        self._status = ""
        self._failed = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Manager:
        """The one that this environment tells of."""
        watchdog_s = math.inf
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            told = environ.get("WATCHDOG_USEC", "")
            if told.isdecimal() and int(told) > 0:
                watchdog_s = int(told) / _MICRO
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_s)

    def ready(self) -> None:
        """We serve from now on, or again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The settings are being read again; ``ready`` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """This is the end."""
        self._tell("STOPPING=1")

    def status(self, words: str) -> None:
        """How it goes, in one line; told only when it is news."""
        if words != self._status:
            self._status = words
            self._tell(f"STATUS={words}")

    def feed(self) -> None:
        """A sign of life; cheap enough for every step."""
        if math.isinf(self._watchdog_s):
            return
        now = self._monotonic()
        if now - self._fed_at >= self._watchdog_s / _FEEDS:
            self._fed_at = now
            self._tell("WATCHDOG=1")

    def allow(self, longest_step_s: float) -> None:
        """See to it that one step that takes so long is not taken for death."""
        if 2 * longest_step_s > self._watchdog_s:
            self._watchdog_s = 2 * longest_step_s
            self._tell(f"WATCHDOG_USEC={int(self._watchdog_s * _MICRO)}")

    def _tell(self, lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.setblocking(False)
                way.sendto(lines.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager does not hear us: %s", error)
            self._failed = True
