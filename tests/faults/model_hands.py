"""The hands in the world of the model: writers that write events, a user who forgets, a disk that errs."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from flwr_telemetry.errors import SpoolFullError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.record import MAX_DATE_US, MIN_DATE_US
from flwr_telemetry.spool import CreationRefusedError, Writer
from tests.faults.model_actor import Actor, DeathError
from tests.faults.model_ledger import Ledger, Seen, text_of
from tests.faults.model_parts import Pen
from tests.support import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Kind = tuple[int, ...]
_NOW_US = 1_795_000_000_000_000
_DATES_US = (_NOW_US, _NOW_US + 1000, 0, -1, -(10**15), MIN_DATE_US, MAX_DATE_US)
_LOOKALIKES = (1, True, 1.0, "1", None, [1], {"a": 1})
SOURCES = tuple(f"9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d{number}" for number in range(3))


class Hands:
    """What writers, the user and the disk do; the rest of the world is ``model_world.World``.

    Attributes:
        homes: the home as each of the two hosts sees it.
        hosts: the hosts.
        ledger: what may have become of each event.
        state: whether telemetry is ``on``, ``off``, or the settings are ``malformed``.
        settings: those of the user that are not the usual ones.
        seen: what lay in the home when it was looked at last.
        pens: the writers.
        forgotten: the source IDs that the user had forgotten.
        damaged: whether a body was damaged.
    """

    homes: tuple[Home, Home]
    hosts: list[HostPaths]
    seen: Seen
    pens: list[Pen]
    _pids: Iterator[int]

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.state = "on"
        self.settings: dict[str, Any] = {}
        self.forgotten: set[str] = set()
        self.damaged = False
        self._count = 0

    def pen(self, number: int) -> Pen:
        """A new writer in this place: three are on this host, one on the other."""
        home = self.homes[number == 3]
        writer = Writer(home, home.host(), lambda: self.state == "on", lambda: None)
        return Pen(home.host(), writer, Actor(next(self._pids)))

    def event(self, kind: Kind) -> tuple[bytes, str]:
        """A new event of this kind, as a record and as the ledger knows it."""
        type_, cluster, source, form, date = kind
        self._count += 1
        forms: tuple[dict[str, Any], ...] = (
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

    def begin(self, pen: Pen, kind: Kind) -> Callable[[], None]:
        """What a writer does for a new event of this kind."""
        frame, pen.event = self.event(kind)
        cap_bytes = self.settings.get("spool_max_mib", 64) * 2**20
        pen.actor.unlocked_writes, pen.was_off = 0, False
        return lambda: pen.writer.append(frame, cap_bytes)

    def written(self, pen: Pen, outcome: Callable[[], Any]) -> None:
        """Note what came of it."""
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

    def bury_pen(self, pen: Pen) -> None:
        """Kill a writer; another takes its place."""
        pen.actor.kill()
        number = self.pens.index(pen)
        self.pens[number] = self.pen(number)

    # What the user and the disk do

    def put(self, path: Path, data: bytes) -> None:
        """Write a file of ours, if its directory is there."""
        if path.parent.is_dir():
            path.write_bytes(data)
            path.chmod(0o600)

    def forget(self, number: int) -> None:
        """Have a source ID forgotten."""
        self.forgotten.add(SOURCES[number])
        hashes = [hashlib.sha256(each.encode()).hexdigest() for each in sorted(self.forgotten)]
        self.put(self.homes[0].forgotten, "\n".join(hashes).encode())
        self.ledger.excuse([each for each in self.ledger.begun if SOURCES[number] in each], "forgotten")

    def damage(self, host: int, what: str, percent: int, junk: bytes) -> None:
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
