"""The world of the model: one home, the writers and the sidecars of two hosts, their clocks, one collector.

The rooms are the real ones, on a real directory, with a real collector behind them. What stands in for
something else is time, and the system's word where a call is made to fail.
"""

import contextlib
import itertools
import json
import logging
import os
import random
import shutil
import tempfile
import time
from collections import deque
from pathlib import Path

from flwr_telemetry import locks
from flwr_telemetry.layout import Home
from flwr_telemetry.locks import LockResult
from flwr_telemetry.locks import time as time_
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.http import HttpSink
from flwr_telemetryd.sidecar.loop import Sidecar
from tests.faults.ledger import in_body, in_segment, is_burst, see
from tests.faults.model_actor import Actor, installed
from tests.faults.model_hands import DAY_S, Faults, Hands, HomeOf, Life, Time
from tests.faults.world import Linked
from tests.support import homes
from tests.support.collector import ANSWERS


class World(Hands):
    """Everything but the rules; for `locks` see ``model_actor.installed``."""

    def __init__(self, locks, collector):
        super().__init__()
        self.locks = locks
        shared_memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=shared_memory if shared_memory.is_dir() else None))
        self.path = self.root / "home" / ".flwr"
        self.homes = (Home(self.path), HomeOf(self.path))
        self.hosts = [home.host() for home in self.homes]
        self.time = Time()
        self.script = deque()
        self.refuses = "nothing"
        self.heard = []
        self.answers = []
        self.shifted_s = 0.0
        self.lives = {}
        self._pids = itertools.count(100_000)
        self._collector = collector
        with contextlib.ExitStack() as until:
            self._set_up(until)
            self._until = until.pop_all()
        self.pens = [self.pen(number) for number in range(4)]
        self.seen = self.see()

    def _set_up(self, until):
        until.callback(shutil.rmtree, self.root, ignore_errors=True)
        self.path.parent.mkdir()
        self._collector.start_afresh(self._decide)
        until.enter_context(installed(self.locks))
        until.callback(setattr, locks, "time", time_)
        locks.time = self.time
        log = logging.getLogger("flwr_telemetryd")
        handler = Faults(self.ledger.faults)
        until.callback(log.setLevel, log.level)
        until.callback(setattr, log, "propagate", log.propagate)
        until.callback(log.removeHandler, handler)
        log.addHandler(handler)
        log.setLevel(logging.ERROR)
        log.propagate = False
        self.configure()

    def end(self):
        for actor in self.actors():
            actor.kill()
        for life in self.lives.values():
            life.sidecar.close("")
        self._until.close()

    # Settings

    def configure(self):
        if self.state == "malformed":
            homes.write_settings(self.path, "enabled = perhaps\n")
            return
        wanted = {"burst_window_s": 0, "sent_max_mib": 1e6, "sent_max_days": 1e9, "spool_max_days": 1e6}
        wanted |= {"enabled": self.state == "on", **self.settings}
        homes.configure(self.path, self._collector.url, **wanted)

    def set_state(self, state):
        self.state = state
        self.configure()
        if state == "off":
            for life in self.lives.values():
                life.is_off = True
            for pen in self.pens:
                pen.was_off = pen.actor.stopped

    # Processes

    def actors(self):
        return [*(life.actor for life in self.lives.values()), *(pen.actor for pen in self.pens)]

    def stopped(self):
        return [each for each in (*self.lives.values(), *self.pens) if each.actor.stopped]

    def life(self, slot, mode):
        """The sidecar in this place, a new one if none lives: two places on this host, one on the other."""
        if slot not in self.lives:
            home = self.homes[slot == 2]
            if self.state == "on" and not home.host().root.is_dir():
                home.host().root.mkdir(0o700)  # as `__main__` does
            actor = Actor(next(self._pids))
            known = see([home.host().root]).waiting if home.host().root.is_dir() else frozenset()
            sidecar = actor.run(
                lambda: Sidecar(
                    home,
                    mode,
                    lambda chosen: HttpSink(chosen, {}),
                    lock=Linked(
                        home.host(), LockResult.UNSUPPORTED if self.locks == "refused" else LockResult.HELD
                    ),
                    clock=Clock(
                        self.time.monotonic, self.time.time_ns, self.time.sleep, random.Random(slot).random
                    ),
                    site_file=self.root / "no-site.toml",
                )
            )
            self.lives[slot] = Life(sidecar, actor, self.state == "off", known)
        return self.lives[slot]

    def bury(self, life):
        """Kill a sidecar; what the system closes is closed."""
        self.ledger.excuse(self.late(life.actor), "race 13, and a death amid it")
        life.actor.kill()
        life.sidecar._uploader.close()
        self.lives = {slot: each for slot, each in self.lives.items() if each is not life}

    def late(self, actor):
        """What came to a segment after this process looked at its size, and before it unlinked it (race 13).

        The process is about to write that anew. If it dies before, nothing can help these events.
        """
        found = []
        for number in actor.open_descriptors():
            path, *_ = actor.descriptors[number]
            if path.endswith(".taken") and os.fstat(number).st_nlink == 0:
                found += in_segment(os.pread(number, 2**20, actor.sizes[number]))
        return frozenset(found)

    def end_life(self, slot, why):
        life = self.lives.pop(slot)
        life.actor.run(lambda: life.sidecar.close(why))

    # What is seen

    def see(self):
        return see(host.root for host in self.hosts)

    def check(self):
        self.seen = self.see()
        in_hands = [self.late(life.actor) for life in self.lives.values() if life.actor.stopped]
        self.ledger.check(self.seen, frozenset().union(*in_hands))
        for actor in self.actors():
            most = 1 if any(pen.actor is actor for pen in self.pens) else 0
            assert actor.stopped or len(actor.open_descriptors()) <= most, actor.descriptors

    def unsent(self):
        return [path for path in homes.unsent_files(self.path) if path.stat().st_size]

    def shift(self, seconds):
        """Set the file system's clock forward, or backward, by making everything older or younger."""
        self.shifted_s += seconds
        telemetry = self.path / "telemetry"
        for path in (*telemetry.glob("*/**/*"), *telemetry.glob("service-*.json")):
            status = path.lstat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))

    def barred_s(self, host):
        """The rest of a Retry-After in seconds, by the home's file."""
        try:
            asked_s = min(float(host.not_before.read_text()), DAY_S)
            left_s = asked_s - max(time.time() - host.not_before.stat().st_mtime, 0)
        except (OSError, ValueError):
            return 0.0
        return left_s if left_s > 0 else 0.0

    # The collector

    def _decide(self, request):
        self.heard.append(request)
        self.ledger.hear(request)
        if not self.forgotten.isdisjoint(_sources(in_body(request.body))):
            self.ledger.faults.append("a source that was forgotten is sent")
        refused = self.refuses in ("all", "bursts" if is_burst(request) else "single events")
        answer = ANSWERS[self.script.popleft() if self.script else "400" if refused else "200"]
        answer = self.ledger.decide(request, answer)
        self.answers.append(answer)
        return answer


def _sources(events):
    return {json.loads(event)["context"]["source"] for event in events}
