"""The parts of the model's world: its time and processes; writers, a user who forgets, a disk that errs."""

import hashlib
import itertools
import logging
from dataclasses import dataclass

from flwr_telemetry.errors import SpoolFullError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.record import MAX_DATE_US, MIN_DATE_US
from flwr_telemetry.spool import CreationRefusedError, Writer
from flwr_telemetryd.sidecar.loop import Sidecar
from tests.faults.ledger import Ledger, text_of
from tests.faults.model_actor import Actor, DeathError
from tests.support import records

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
class Life:
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


class Faults(logging.Handler):
    """Notes each defect that a module logs of itself."""

    def __init__(self, faults):
        super().__init__()
        self._faults = faults

    def emit(self, record):
        self._faults.append(logging.Formatter().format(record))


class Hands:
    """The acts of writers, user and disk; the rest of the world is ``model_world.World``."""

    def __init__(self):
        self.ledger = Ledger()
        self.state = "on"  # or `off`, or `malformed` settings
        self.settings = {}  # those that are not the usual ones
        self.forgotten = set()  # source IDs
        self.damaged = False  # whether a body was damaged
        self._count = 0

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
            self.ledger.acknowledged[pen.event] = 0.0
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
