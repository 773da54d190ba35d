"""Messages to the service manager that started this process, in systemd's notification protocol.

One datagram of ``NAME=value`` lines goes to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)). Without
such a socket nothing is sent. This module never waits for the manager, and never makes a sidecar fail.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping

from flwr_telemetry import system

from ..clock import Timer

log = logging.getLogger("flwr_telemetryd")

_FEEDS = 4
"""The watchdog is fed at most this many times in its interval."""

_MICRO = 1_000_000


class ServiceManager:
    """The service manager of this process, if it has one.

    Args:
        environ: names its socket, by a path or by ``@`` and an abstract name, and its watchdog; or neither.
        monotonic: gives seconds that never run backwards.
    """

    def __init__(self, environ: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = math.inf
        """The manager kills a process that is silent for longer."""
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            interval = environ.get("WATCHDOG_USEC", "")
            if interval.isdecimal() and float(interval) > 0:
                self._watchdog_s = float(interval) / _MICRO
        self._timer = Timer(monotonic)
        self._status, self._failed = "", False

    def ready(self) -> None:
        """Report that the start, or a reload, is over."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Report that the settings are being read again; ``ready`` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that this process ends."""
        self._tell("STOPPING=1")

    def status(self, summary: str) -> None:
        """Send one line for ``systemctl status``, if it changed."""
        if summary != self._status:
            self._status = summary
            self._tell(f"STATUS={summary}")

    def watchdog(self) -> None:
        """Feed the watchdog, if a quarter of its interval is over; cheap enough for every step."""
        if math.isfinite(self._watchdog_s) and self._timer.is_due(self._watchdog_s / _FEEDS):
            self._tell("WATCHDOG=1")

    def extend_watchdog(self, longest_step_s: float) -> None:
        """Make the watchdog's interval at least twice as long as one step, in seconds."""
        if 2 * longest_step_s > self._watchdog_s:
            self._watchdog_s = 2 * longest_step_s
            self._tell(f"WATCHDOG_USEC={int(self._watchdog_s * _MICRO)}")

    def _tell(self, lines: str) -> None:
        if system.WINDOWS or not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(lines.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("cannot send to the service manager: %s", error)
            self._failed = True
