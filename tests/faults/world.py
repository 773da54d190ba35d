"""A sidecar in this process, and time that passes for it, for its clock and for its file system alike."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any

from flwr_telemetry import files
from flwr_telemetry.layout import Home
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from flwr_telemetryd.sidecar.loop import Sidecar
from flwr_telemetryd.spool.locks import HostLock
from tests.support import homes, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from flwr_telemetryd.delivery.outcome import Outcome
    from flwr_telemetryd.runtime import Mode
    from flwr_telemetryd.sidecar.schedule import ExitReason

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S

_JUST_NOW_S = 30.0


class Linked(HostLock):
    """The lock of a host whose directory nobody replaces."""

    def is_linked(self) -> bool:
        return True


class World:
    """A home and the life of a sidecar.

    The file system's time is the real one and what has passed here: whatever is written while the
    sidecar looks is given that time afterwards.

    Args:
        home: whose events it delivers; settings are those of the file.
        mode: how long it lives.
        monkeypatch: of the test.
        options: of the sidecar.
    """

    def __init__(self, home: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.home = home
        self.answer: Outcome = Delivered()
        self.answer_by: Callable[[str, bytes], Outcome] = lambda _key, _body: self.answer
        self.sent: list[tuple[str, bytes]] = []
        self.time_ns = time.time_ns
        self._monotonic = 1000.0
        self._offset = 0.0
        self._times: dict[int, int] = {}
        monkeypatch.setattr(files, "now", self._now)
        clock = Clock(
            monotonic=lambda: self._monotonic,
            time_ns=self._time_ns,
            sleep=self.pass_time,
            random=lambda: 1.0,
        )
        self._begin = functools.partial(
            Sidecar,
            Home(home),
            mode,
            lambda _settings: self,
            clock=clock,
            site_file=home / "no-site",
            **options,
        )
        self.begin()

    def begin(self) -> None:
        """Begin the next life of a sidecar."""
        self.sidecar = self._begin()

    # The way out

    def send(self, key: str, body: bytes) -> Outcome:
        """Note a body, and answer as the world does now."""
        self.sent.append((key, body))
        return self.answer_by(key, body)

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def arrived(self) -> list[int]:
        """The numbers of all events that were sent, after de-duplication by key."""
        return wire.serials(wire.expand_all(dict(self.sent).values()))

    # Time

    def look(self) -> ExitReason | None:
        """Let the sidecar look once."""
        end = self.sidecar.run_pass()
        for path in homes.telemetry(self.home).rglob("*"):
            status = path.lstat()
            if self._times.get(status.st_ino) != status.st_mtime_ns:
                # It was written since the last look, unless a test gave it a time of its own.
                if abs(time.time() - status.st_mtime) < _JUST_NOW_S:
                    _set_time(path, status.st_mtime + self._offset)
                self._times[status.st_ino] = path.lstat().st_mtime_ns
        return end

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self._offset += seconds

    def step(self, seconds: float) -> None:
        """Set the file system's clock forward, or backward, in no time."""
        self._offset += seconds

    def look_for(self, seconds: float, every_s: float) -> None:
        """Let the sidecar look again and again while time passes."""
        for _ in range(int(seconds / every_s)):
            self.look()
            self.pass_time(every_s)
        self.look()

    def _time_ns(self) -> int:
        return self.time_ns()  # a test may have put another in its place

    def _now(self, path: Path) -> float:
        files.touch(path)
        _set_time(path, path.stat().st_mtime + self._offset)
        return path.stat().st_mtime


def fails() -> Retry:
    """Give the answer of a collector that cannot be reached."""
    return Retry("no connection to the collector")


def _set_time(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds), follow_symlinks=False)


def from_now(path: Path, seconds: float) -> None:
    """Give a file or directory a time that is so far in the future, or in the past."""
    _set_time(path, time.time() + seconds)


def taken() -> Delivered:
    """Give the answer of a collector that has the body."""
    return Delivered()
