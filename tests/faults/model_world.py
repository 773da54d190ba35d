"""The world of the model: one home, the writers and the sidecars of two hosts, their clocks, one collector.

The modules are the real ones, on a real directory, with a real collector behind them. Only time, and the
answer of a system call that is made to fail, are replaced.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import random
import shutil
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import locks
from flwr_telemetry.errors import SpoolFullError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.locks import LockResult
from flwr_telemetry.locks import time as time_
from flwr_telemetry.record import MAX_DATE_US, MIN_DATE_US
from flwr_telemetry.spool import CreationRefusedError
from flwr_telemetry.spool.posix import Writer
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery.http import HttpSink
from flwr_telemetryd.sidecar.loop import Sidecar
from tests.faults.ledger import Ledger, in_body, in_segment, is_burst, see, text_of
from tests.faults.model_actor import Actor, DeathError, installed
from tests.faults.world import Linked
from tests.support import homes, records
from tests.support.collector import ANSWERS

OTHER_HOST = "another"
HOUR_S, DAY_S = 3600.0, 86_400.0
NOW_NS = 1_795_000_000 * 10**9
_NOW_US = 1_795_000_000_000_000
_DATES_US = (_NOW_US, _NOW_US + 1000, 0, -1, -(10**15), MIN_DATE_US, MAX_DATE_US)
_LOOKALIKES = (1, True, 1.0, "1", None, [1], {"a": 1})
SOURCES = tuple(f"9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d{number}" for number in range(3))


class Time:
    """The time of all modules: it passes in a sleep, or by a step of the model."""

    def __init__(self):
        self.monotonic_s = 1000.0
        self.wall_ns = NOW_NS

    def monotonic(self):
        return self.monotonic_s

    def sleep(self, seconds):
        self.monotonic_s += seconds

    def time_ns(self):
        return self.wall_ns


class HomeOf(Home):
    name = OTHER_HOST

    def host(self, name=None):
        return super().host(name or self.name)


@dataclass
class SidecarRun:
    """One run of a sidecar."""

    sidecar: Sidecar
    actor: Actor
    is_off: bool
    """Whether telemetry was off at some time since its pass began."""
    known: frozenset[str]
    """The events that were spooled on its host when it began."""
    may_fail: bool = False
    """Whether a call that only looks is made to fail."""


@dataclass
class Pen:
    host: HostPaths
    writer: Writer
    actor: Actor
    event: str = ""
    was_off: bool = False


class World:
    """Everything but the rules; for `locks` see ``model_actor.installed``."""

    def __init__(self, locks, collector):
        self.ledger = Ledger()
        self.state = "on"  # or `off`, or `malformed` settings
        self.settings = {}  # those that are not the usual ones
        self.forgotten = set()  # source IDs
        self.damaged = False  # whether a body was damaged
        self._count = 0
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
        self.shifted_s = 0.0
        self.runs = {}
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
        handler = logging.Handler()  # a defect that a module logs of itself is a fault
        handler.emit = lambda record: self.ledger.faults.append(logging.Formatter().format(record))
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
        for run in self.runs.values():
            run.sidecar.close("")
        self._until.close()

    # What writers, the user and the disk do
    def pen(self, number):
        home = self.homes[number == 3]
        writer = Writer(home.host(), lambda: self.state == "on", lambda: None)
        return Pen(home.host(), writer, Actor(next(self._pids)))

    def event(self, kind):
        """A new event of this kind, as a record and as the ledger knows it."""
        type_, cluster, source, form, date = kind
        self._count += 1
        forms = (
            {},
            {"n": self._count},
            {"n": self._count, "text": "\u00e9" * (self._count % 7)},
            {"value": _LOOKALIKES[self._count % len(_LOOKALIKES)]},
            {"n": self._count, "long": "x" * 400},
        )
        for later in itertools.count():
            event = records.sample(
                forms[form],
                event_type=f"TYPE_{type_}",
                cluster=f"cluster-{cluster}",
                source=SOURCES[source],
                date_us=_DATES_US[date] + (later if _DATES_US[date] < MAX_DATE_US else -later),
            )
            if (text := text_of(event)) not in self.ledger.begun:
                break
        self.ledger.begun.add(text)
        if SOURCES[source] in self.forgotten:
            self.ledger.excuse([text], "forgotten")
        return records.encode(event), text

    def begin(self, pen, kind):
        frame, pen.event = self.event(kind)
        cap_bytes = self.settings.get("spool_max_mib", 64) * 2**20
        pen.actor.unlocked_writes, pen.was_off = 0, False
        return lambda: pen.writer.append(frame, cap_bytes)

    def written(self, pen, outcome):
        try:
            outcome()
        except SpoolFullError:
            self.ledger.turned_away += 1
        except CreationRefusedError:
            assert self.state != "on" or pen.was_off
        except DeathError:
            self.bury_pen(pen)
        else:
            self.ledger.acknowledged.add(pen.event)
            if pen.was_off:
                self.ledger.excuse([pen.event], "switched off meanwhile")
        if pen.actor.unlocked_writes > 1:
            self.ledger.may_double.add(pen.event)

    def bury_pen(self, pen):
        """Kill a writer; another takes its place."""
        pen.actor.kill()
        number = self.pens.index(pen)
        self.pens[number] = self.pen(number)

    # What the user and the disk do

    def put(self, path, data):
        if path.parent.is_dir():
            path.write_bytes(data)
            path.chmod(0o600)

    def forget(self, number):
        self.forgotten.add(SOURCES[number])
        hashes = [hashlib.sha256(each.encode()).hexdigest() for each in sorted(self.forgotten)]
        self.put(self.homes[0].forgotten, "\n".join(hashes).encode())
        self.ledger.excuse([each for each in self.ledger.begun if SOURCES[number] in each], "forgotten")

    def damage(self, host, what, percent, junk):
        """Damage a file: cut a body and end it with junk, end the open segment, or write it alone."""
        paths = self.hosts[host]
        if what == "segment" and paths.events.exists():
            with paths.events.open("ab") as segment:
                segment.write(b"\x92\xce" + junk[:percent])
        elif what == "body":
            bodies = [path for path in self.seen.files if path.suffix in {".json", ".split"}]
            for path in bodies[: 1 + percent % 2]:
                self.ledger.excuse(self.seen.files[path], "damaged")
                data = path.read_bytes()
                path.write_bytes(data[: len(data) * percent // 100] + junk)
                self.damaged = True
        elif what in {"sidecar.json", "not-before"}:
            self.put(paths.root / what, junk)

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
            for run in self.runs.values():
                run.is_off = True
            for pen in self.pens:
                pen.was_off = pen.actor.stopped

    # Processes

    def actors(self):
        return [*(run.actor for run in self.runs.values()), *(pen.actor for pen in self.pens)]

    def stopped(self):
        return [each for each in (*self.runs.values(), *self.pens) if each.actor.stopped]

    def run_at(self, slot, mode):
        """The sidecar in this place, a new one if none runs: two places on this host, one on the other."""
        if slot not in self.runs:
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
            self.runs[slot] = SidecarRun(sidecar, actor, self.state == "off", known)
        return self.runs[slot]

    def bury(self, run):
        """Kill a sidecar; what the system closes is closed."""
        self.ledger.excuse(self.late(run.actor), "race 13, and a death amid it")
        run.actor.kill()
        run.sidecar._uploader.close()
        self.runs = {slot: each for slot, each in self.runs.items() if each is not run}

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
        run = self.runs.pop(slot)
        run.actor.run(lambda: run.sidecar.close(why))

    # What is seen

    def see(self):
        return see(host.root for host in self.hosts)

    def check(self):
        self.seen = self.see()
        in_hands = [self.late(run.actor) for run in self.runs.values() if run.actor.stopped]
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
        return self.ledger.decide(request, answer)


def _sources(events):
    return {json.loads(event)["context"]["source"] for event in events}
