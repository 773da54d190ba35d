"""A sidecar in this process, and time that passes for it, for its clock and for its file system alike."""

import functools
import os
import time

from flwr_telemetry import files
from flwr_telemetry.layout import Home
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.outcome import Delivered
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.loop import Sidecar
from flwr_telemetryd.spool.locks import HostLock
from tests.support import homes, records, wire

# A service that sleeps for an hour, unless it is woken.
ASLEEP = """
import sys
from flwr_telemetryd.sidecar import schedule
schedule.POLL_S = schedule.LONGEST_WAIT_S = 3600.0
from flwr_telemetryd.__main__ import main
sys.exit(main(["--service"]))
"""
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S

_JUST_NOW_S = 30.0


class Linked(HostLock):
    """The lock of a host whose directory nobody replaces."""

    def is_linked(self):
        return True


class World:
    """A home, the run of a sidecar with these options, and its collector.

    The file system's time is the real one and what has passed here: files that are written in a pass of the
    sidecar get that time afterwards.
    """

    def __init__(self, home, mode, monkeypatch, **options):
        self.home = home
        self.answer = Delivered()
        self.answer_by = lambda _key, _body: self.answer
        self.sent = []
        self.time_ns = time.time_ns
        self._monotonic = 1000.0
        self._offset = 0.0
        self._times = {}
        monkeypatch.setattr(files, "now", self._now)
        clock = Clock(
            monotonic=lambda: self._monotonic, time_ns=self._time_ns, sleep=self.pass_time, random=lambda: 1.0
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

    @property
    def heartbeat(self):
        return Home(self.home).heartbeat(homes.host_name())

    def begin(self):
        self.sidecar = self._begin()

    # The way out

    def send(self, key, body):
        self.sent.append((key, body))
        return self.answer_by(key, body)

    def close(self):
        """Nothing is held open."""

    @property
    def arrived(self):
        return wire.serials(wire.expand_all(dict(self.sent).values()))

    # Time

    def look(self):
        end = self.sidecar.run_pass()
        for path in homes.telemetry(self.home).rglob("*"):
            status = path.lstat()
            if self._times.get(status.st_ino) != status.st_mtime_ns:
                # It was written since the last look, unless a test gave it a time of its own.
                if abs(time.time() - status.st_mtime) < _JUST_NOW_S:
                    _set_time(path, status.st_mtime + self._offset)
                self._times[status.st_ino] = path.lstat().st_mtime_ns
        return end

    def pass_time(self, seconds):
        self._monotonic += seconds
        self._offset += seconds

    def step(self, seconds):
        self._offset += seconds

    def look_for(self, seconds, every_s):
        for _ in range(int(seconds / every_s)):
            self.look()
            self.pass_time(every_s)
        self.look()

    def _time_ns(self):
        return self.time_ns()  # a test may have put another in its place

    def _now(self, path):
        files.touch(path)
        _set_time(path, path.stat().st_mtime + self._offset)
        return path.stat().st_mtime


def service(home, monkeypatch, events=1, settings="", **options):
    """Give a service whose host has spooled so many events; its collector is the world."""
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n' + settings)
    homes.put(home, records.series(events, date_us=time.time_ns() // 1000))
    return World(home, Mode.SERVICE, monkeypatch, **options)


def _set_time(path, seconds):
    os.utime(path, (seconds, seconds), follow_symlinks=False)


def from_now(path, seconds):
    """Give a file or directory a time that is so far in the future, or in the past."""
    _set_time(path, time.time() + seconds)
