"""Read the stages of a home again and again, and give each event or body once a stage.

A segment is recognized by its inode and its first bytes, because its name changes; a body by its key; a line
of the archive by the offset at which it ends. This module never writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flwr_telemetry import files, machine, packing, pending, settings, system
from flwr_telemetry.hardware import add_facts, known_facts
from flwr_telemetry.layout import Home, HostPaths
from flwr_telemetry.record import to_wire

from ..burst import codec
from ..outbox import archive, contents
from ..outbox.archive import Receipt
from ..outbox.body import key_of
from ..outbox.body import read as read_body
from ..outbox.queue import read_reason
from ..spool import reader
from ..spool.directory import known_hosts
from ..state import State
from .problems import can_be_read, read_each

Segment = tuple[int, bytes]

_RECEIPT_S, _RECEIPT_WAIT_S, _MOST_WAITS = 1.0, 0.02, 3
"""For so long a receipt may follow; so long, and so often at most, it is waited for."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event of the spool, or a body."""

    stage: str
    """``spool``, ``outbox``, ``sent`` or ``rejected``."""

    raw: bytes
    """The item as JSON, in one line; a body byte for byte."""

    events: int
    """The number of its events."""

    host: str
    """The host in whose directory it is."""

    key: str | None = None
    """The idempotency key of a body; None for an event of the spool."""

    receipt: Receipt | None = None
    """When and to which address a body was sent; None if it was not, or if its receipt is missing."""

    reason: str | None = None
    """Why the collector refused a body."""

    def meta(self) -> dict[str, Any]:
        """All other facts about the event or body, for JSON."""
        receipt = self.receipt
        return {
            "stage": self.stage,
            "host": self.host,
            "key": self.key,
            "at": receipt and receipt.at,
            "to": receipt and receipt.to,
            "reason": self.reason,
        }


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
        self._receipts: dict[Path, archive.Receipts] = {}
        self._has_read = False
        self._waits = 0
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
            "sent": lambda host: read_each(
                partial(archive.archive_files, host), partial(self._archive, host), problems
            ),
            "rejected": lambda host: self._bodies(host, "rejected", contents.rejected_bodies),
        }
        self._waits = _MOST_WAITS
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
                yield Item("spool", codec.dumps(event).encode(), 1, host.name)

    def _facts(self, host: HostPaths, path: Path) -> dict[str, int]:
        """The hardware facts that the sidecar of a host adds to the events of a segment.

        Of another host, only its own sidecar has told them. An adopted batch gets none.
        """
        if pending.is_adopted(path.parent.name.partition(".")[0]):
            return {}
        if host.name not in self._facts_of:
            is_own = host == self._own
            told = known_facts(settings.load(self._home, None)) if is_own else State.load(host).hardware
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

        return read_each(new, lambda path: self._file(host, stage, path), self.problems)

    def _file(self, host: HostPaths, stage: str, path: Path) -> Iterator[Item]:
        reason = read_reason(path) if stage == "rejected" else None
        yield from self._body(Item(stage, read_body(path), 0, host.name, path.stem, reason=reason), path)

    def _archive(self, host: HostPaths, path: Path) -> Iterator[Item]:
        if path not in self._receipts:
            self._receipts[path] = archive.Receipts(path)
        is_known = self._has_read and path.is_relative_to(self._home.gone_hosts.root)
        for raw, end in archive.read_archive(path, self._archive_ends.get(path, 0)):
            self._archive_ends[path] = end
            if not is_known:  # such a line was read where its host kept it, before the host was gone
                receipt = self._receipts[path].of(raw) or self._just_written(path, raw)
                key = receipt.key if receipt else key_of(raw)
                yield from self._body(Item("sent", raw, 0, host.name, key, receipt), path)

    def _just_written(self, path: Path, raw: bytes) -> Receipt | None:
        """The receipt of a body that was archived in this moment: it is written a moment later."""
        if self._waits <= 0 or time.time() - os.lstat(path).st_mtime > _RECEIPT_S:
            return None
        self._waits -= 1
        time.sleep(_RECEIPT_WAIT_S)
        return self._receipts[path].of(raw)

    def _body(self, item: Item, path: Path) -> Iterator[Item]:
        events = 0 if b"\n" in item.raw else contents.count_events(item.raw)
        if events:
            yield replace(item, events=events)
        else:
            self.problems[f"{path} holds something that is no body; it is not shown"] = None


def _identity(path: Path) -> Segment:
    """The inode, and the first header with its checksum: an inode is used again, an event is not."""
    with files.opened(path, os.O_RDONLY) as descriptor:
        return os.fstat(descriptor).st_ino, system.pread(descriptor, packing.HEADER.size, 0)
