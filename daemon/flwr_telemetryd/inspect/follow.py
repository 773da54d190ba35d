"""Read the stages of a home again and again, and give each event or body once a stage.

A segment is recognized by its inode and its first bytes, because its name changes; a body by its key; a line
of the archive by the offset at which it ends. This module never writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flwr_telemetry import files, machine, pending, record
from flwr_telemetry.hardware import add_facts, hardware_facts
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.record import to_wire

from ..burst import codec
from ..outbox import archive, contents
from ..outbox.body import read as read_body
from ..spool import reader
from ..spool.directory import known_hosts
from ..state import State
from .problems import can_be_read, read_each

Segment = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """An event of the spool, or a body."""

    stage: str
    """``spool``, ``outbox``, ``sent`` or ``rejected``."""

    raw: bytes
    """The item as JSON, in one line; a body byte for byte."""

    events: int
    """The number of its events."""


class Follower:
    """Remembers which items it has given.

    Args:
        home: the home; the events of all its hosts are read.
        stage: the only stage to read; None for all.
    """

    def __init__(self, home: Home, stage: str | None = None) -> None:
        self._home = home
        self._stage = stage
        self._own = machine.own_host(home)
        self._facts_of: dict[str, dict[str, int]] = {}
        self._segment_ends: dict[Segment, int] = {}
        self._keys: dict[tuple[str, str], set[str]] = {}
        self._archive_ends: dict[Path, int] = {}
        self._has_read = False
        self.problems: dict[str, None] = {}
        """One sentence for each thing that could not be shown, in order."""

    def new_items(self) -> Iterator[Item]:
        """The items that are new since the last call; in the order in which events move, to miss none."""
        problems = self.problems
        stages: dict[str, Callable[[HostPaths], Iterator[Item]]] = {
            "spool": lambda host: read_each(
                partial(contents.spool_segments, host), partial(self._segment, host), problems
            ),
            "outbox": lambda host: self._bodies(host, "outbox", contents.outbox_bodies),
            "sent": lambda host: read_each(partial(archive.archive_files, host), self._archive, problems),
            "rejected": lambda host: self._bodies(host, "rejected", contents.rejected_bodies),
        }
        if can_be_read(self._home):
            hosts = known_hosts(self._home)
            for stage, items in stages.items():
                if self._stage in {None, stage}:
                    for host in hosts:
                        yield from items(host)
            self._has_read = True

    def _segment(self, host: HostPaths, path: Path) -> Iterator[Item]:
        segment = _identity(path)
        end = max(self._segment_ends.get(segment, 0), contents.first_byte(path))
        for piece in contents.read_segment(path, end):
            end += piece.size_bytes
            # Damage at the end may be a record that is being written, and is read again.
            if isinstance(piece, reader.Record):
                self._segment_ends[segment] = end
                event = to_wire(piece.event)
                event["context"] = add_facts(event["context"], self._facts(host, path))
                yield Item("spool", codec.dumps(event).encode(), 1)

    def _facts(self, host: HostPaths, path: Path) -> dict[str, int]:
        """The hardware facts that the sidecar of a host adds to the events of a segment.

        Of another host, only its own sidecar has told them. An adopted batch gets none.
        """
        if pending.is_adopted(path.parent.name.partition(".")[0]):
            return {}
        if host.name not in self._facts_of:
            is_own = host == self._own
            told = hardware_facts() if is_own else State.load(host).hardware
            self._facts_of[host.name] = {name: fact for name, fact in told.items() if type(fact) is int}
        return self._facts_of[host.name]

    def _bodies(
        self, host: HostPaths, stage: str, paths: Callable[[HostPaths], Iterable[Path]]
    ) -> Iterator[Item]:
        place = host.name, stage
        known, present = self._keys.get(place, set()), set[str]()

        def new() -> Iterator[Path]:
            for path in paths(host):
                present.add(path.stem)
                if path.stem not in known:
                    yield path
            self._keys[place] = present

        return read_each(new, lambda path: self._body(stage, read_body(path), path), self.problems)

    def _archive(self, path: Path) -> Iterator[Item]:
        is_known = self._has_read and path.is_relative_to(self._home.gone_hosts.root)
        for raw, end in archive.read_archive(path, self._archive_ends.get(path, 0)):
            self._archive_ends[path] = end
            if not is_known:  # such a line was read where its host kept it, before the host was gone
                yield from self._body("sent", raw, path)

    def _body(self, stage: str, raw: bytes, path: Path) -> Iterator[Item]:
        events = 0 if b"\n" in raw else contents.count_events(raw)
        if events:
            yield Item(stage, raw, events)
        else:
            self.problems[f"{path} holds something that is no body; it is not shown"] = None


def _identity(path: Path) -> Segment:
    """The inode, and the first header with its checksum: an inode is used again, an event is not."""
    with files.opened(path, os.O_RDONLY) as descriptor:
        return os.fstat(descriptor).st_ino, os.pread(descriptor, record.HEADER.size, 0)
