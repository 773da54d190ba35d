"""Look at the stages again and again, and give what is new each time.

A segment is told again by its inode and its first bytes, whatever it is called by now; a body by its
key; a line of the archive by where it ends. This room must never write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import files, record
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.record import to_wire

from ..burst import codec
from ..errors import describe
from ..outbox import archive, contents
from ..outbox.body import read as read_body
from ..spool import reader
from ..spool.directory import known_hosts
from . import problems

Segment = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """An event of the spool, or a body.

    Attributes:
        stage: ``spool``, ``outbox``, ``sent`` or ``rejected``.
        raw: it as JSON, in one line; a body byte for byte.
        events: how many events it stands for.
    """

    stage: str
    raw: bytes
    events: int


class Follower:
    """Remembers what it gave.

    Args:
        home: whose events, of every host.
        stage: the only one to look at; None for all.
    """

    def __init__(self, home: Home, stage: str | None = None) -> None:
        self._home = home
        self._stage = stage
        self._ends: dict[Segment, int] = {}
        self._keys: dict[str, set[str]] = {}
        self._archive_ends: dict[Path, int] = {}
        self.problems: dict[str, None] = {}
        """What could not be shown, one sentence each, in order."""

    def look(self) -> Iterator[Item]:
        """What came since the last look; in the order in which events move, so that none slips past."""
        parts: dict[str, Callable[[HostPaths], Iterator[Item]]] = {
            "spool": self._spool,
            "outbox": lambda host: self._bodies(host, "outbox", contents.outbox_bodies(host)),
            "sent": self._sent,
            "rejected": lambda host: self._bodies(host, "rejected", contents.rejected_bodies(host)),
        }
        if not problems.can_be_read(self._home):
            return
        hosts = known_hosts(self._home)
        for name, part in parts.items():
            if self._stage in {None, name}:
                for host in hosts:
                    try:
                        yield from part(host)
                    except (OSError, TelemetryError) as error:
                        self._cannot(error, host.root)

    def _spool(self, host: HostPaths) -> Iterator[Item]:
        for path in contents.spool_segments(host):
            try:
                segment = _identity(path)
                end = max(self._ends.get(segment, 0), contents.first_byte(path))
                for shown, size in _records(path, end):
                    end += size
                    if shown is not None:
                        # Damage at the end may be a record that is being written: look at it again.
                        self._ends[segment] = end
                        yield shown
            except FileNotFoundError:
                continue  # it moved on
            except (OSError, TelemetryError) as error:
                self._cannot(error, path)

    def _bodies(self, host: HostPaths, stage: str, paths: Iterable[Path]) -> Iterator[Item]:
        place = f"{host.name}/{stage}"
        known, present = self._keys.get(place, set()), set()
        for path in paths:
            present.add(path.stem)
            if path.stem in known:
                continue
            try:
                raw = read_body(path)
            except FileNotFoundError:
                continue  # it moved on
            except (OSError, TelemetryError) as error:
                self._cannot(error, path)
                continue
            yield from self._body(stage, raw, path)
        self._keys[place] = present

    def _sent(self, host: HostPaths) -> Iterator[Item]:
        for path in archive.archive_files(host):
            try:
                for raw, end in archive.read_archive(path, self._archive_ends.get(path, 0)):
                    self._archive_ends[path] = end
                    yield from self._body("sent", raw, path)
            except FileNotFoundError:
                continue  # its time was over
            except (OSError, TelemetryError) as error:
                self._cannot(error, path)

    def _body(self, stage: str, raw: bytes, path: Path) -> Iterator[Item]:
        try:
            whole = isinstance(json.loads(raw), dict) and b"\n" not in raw
        except (ValueError, RecursionError):
            whole = False
        events = contents.count_events(raw) if whole else 0
        if events:
            yield Item(stage, raw, events)
        else:
            self.problems[f"{path} holds something that is no body; it is not shown"] = None

    def _cannot(self, error: OSError | TelemetryError, path: Path) -> None:
        self.problems[describe(error, path)] = None


def _identity(path: Path) -> Segment:
    """Inodes are used again; the first header holds a checksum over what no other event has."""
    descriptor = files.open_file(path, os.O_RDONLY)
    try:
        return os.fstat(descriptor).st_ino, os.pread(descriptor, record.HEADER.size, 0)
    finally:
        os.close(descriptor)


def _records(path: Path, offset_bytes: int) -> Iterator[tuple[Item | None, int]]:
    """The events from an offset on, None for damage, each with its length in the segment."""
    for piece in contents.read_segment(path, offset_bytes):
        if isinstance(piece, reader.Record):
            yield Item("spool", codec.dumps(to_wire(piece.event)).encode(), 1), piece.size_bytes
        else:
            yield None, len(piece.data)
