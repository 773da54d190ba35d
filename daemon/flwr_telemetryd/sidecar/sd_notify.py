"""Messages to the service manager that started this process, in systemd's notification protocol.

One datagram of ``NAME=value`` lines goes to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); without
such a socket nothing is sent. This module must never wait for the manager, and never fail a sidecar.
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
"""The watchdog is fed at most so many times in its interval."""

_MICRO = 1_000_000


class ServiceManager:
    """The service manager of this process, if it has one.

    Args:
        address: its socket, in the file system or, with a leading ``@``, abstract; empty for none.
        watchdog_s: it kills a process that is silent for so long; infinite for never.
        monotonic: seconds that never run backwards.
    """

    def __init__(
        self, address: str = "", watchdog_s: float = math.inf, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._monotonic = monotonic
        self._fed_at = -math.inf
        self._status, self._failed = "", False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ServiceManager:
        """The manager that this environment names."""
        watchdog_s = math.inf
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            interval = environ.get("WATCHDOG_USEC", "")
            if interval.isdecimal() and int(interval) > 0:
                watchdog_s = int(interval) / _MICRO
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_s)

    def ready(self) -> None:
        """The start, or a reload, is over."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The settings are being read again; ``ready`` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """This process is about to end."""
        self._tell("STOPPING=1")

    def status(self, summary: str) -> None:
        """One line for ``systemctl status``; sent only if it changed."""
        if summary != self._status:
            self._status = summary
            self._tell(f"STATUS={summary}")

    def watchdog(self) -> None:
        """Feed the watchdog; cheap enough for every step."""
        now = self._monotonic()
        if math.isfinite(self._watchdog_s) and now - self._fed_at >= self._watchdog_s / _FEEDS:
            self._fed_at = now
            self._tell("WATCHDOG=1")

    def extend_watchdog(self, longest_step_s: float) -> None:
        """Make the interval of the watchdog long enough for one step that takes so long."""
        if 2 * longest_step_s > self._watchdog_s:
            self._watchdog_s = 2 * longest_step_s
            self._tell(f"WATCHDOG_USEC={int(self._watchdog_s * _MICRO)}")

    def _tell(self, lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(lines.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("cannot send to the service manager: %s", error)
            self._failed = True
