"""The naive model: which events there are, where each of them may be, and what may have become of it.

An event is told by its whole content. Once it was acknowledged it has to be in the spool, in a batch, in
the outbox, in the archive or among the rejected ones; or it was purged, forgotten or destroyed by the
damage that the model did; or a cap took it, and then it was counted. At the collector it is under one key
alone, or under a burst's that was refused and one of its members'.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from tests.support import records, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.collector import Request

Text = str

_TAKEN = re.compile(r"(sealed-.+\.msgpack)\.(\d+)\.taken")


def text_of(record: records.Payload) -> Text:
    """What tells an event from all others; keys in one order, and 1, 1.0 and true apart."""
    return json.dumps(record, sort_keys=True)


@functools.lru_cache(maxsize=4096)
def in_segment(data: bytes) -> tuple[Text, ...]:
    """The events in a part of a segment, whatever lies between them."""
    found, at = [], data.find(b"\x92\xce")
    while at >= 0:
        end = at + records.HEADER_BYTES + int.from_bytes(data[at + 7 : at + 9])
        payload = data[at + records.HEADER_BYTES : end]
        whole = payload and end <= len(data) and data[at + 6] == 0xC5
        if whole and zlib.crc32(payload) == int.from_bytes(data[at + 2 : at + 6]):
            found.append(text_of(msgpack.unpackb(payload)))
        else:
            end = at + 1
        at = data.find(b"\x92\xce", end)
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def in_body(body: bytes) -> tuple[Text, ...]:
    """The events in a body, in its order; none if it is damaged."""
    try:
        return tuple(text_of(wire.plain(event)) for event in wire.expand(body))
    except (ValueError, TypeError, LookupError, AttributeError):
        return ()


def start_offset(name: str) -> int:
    """From which byte on a sealed segment is to be read, by its name."""
    digits = name.removesuffix(".msgpack").rpartition("-")[2]
    return int(digits[8:16], 16) if len(digits) == 24 else 0


@dataclass(frozen=True)
class Seen:
    """What lies in a home at some moment.

    Attributes:
        files: what a cap may take: the events in each sealed segment, body and split file.
        elsewhere: the events in open segments, in batches in the making, and in tails that came late.
        sent: those in the archive.
        rejected: those that were refused and kept.
        dropped: how many were counted as dropped.
    """

    files: dict[Path, tuple[Text, ...]]
    elsewhere: frozenset[Text]
    sent: frozenset[Text]
    rejected: frozenset[Text]
    dropped: int

    @functools.cached_property
    def waiting(self) -> frozenset[Text]:
        """The events that are still to be delivered."""
        return self.elsewhere.union(*self.files.values())

    @functools.cached_property
    def copies(self) -> Counter[Text]:
        """How often each event is in something that a cap may take."""
        return Counter(event for events in self.files.values() for event in events)


def see(hosts: Iterable[Path]) -> Seen:  # noqa: C901, PLR0912 - a list of places, read from top to bottom
    """Look at the directories of these hosts."""
    files: dict[Path, tuple[Text, ...]] = {}
    elsewhere: list[Text] = []
    sent: list[Text] = []
    rejected: list[Text] = []
    dropped = 0
    for host in hosts:
        for path in _listing(host / "spool"):
            if path.name.startswith("sealed-"):
                files[path] = in_segment(path.read_bytes()[start_offset(path.name) :])
            elif path.name == "events.msgpack":
                elsewhere += in_segment(path.read_bytes())
        for batch in _listing(host / "work"):
            for path in _listing(batch):
                name = taken[1] if (taken := _TAKEN.fullmatch(path.name)) else path.name
                if name.startswith("sealed-"):
                    elsewhere += in_segment(path.read_bytes()[start_offset(name) :])
        for batch in _listing(host / "outbox"):
            for path in _listing(batch):
                if path.name.endswith((".json", ".split")):
                    files[path] = in_body(path.read_bytes())
                elif taken := _TAKEN.fullmatch(path.name):
                    elsewhere += in_segment(path.read_bytes()[int(taken[2]) :])
        for path in _listing(host / "sent"):
            for line in path.read_bytes().splitlines():
                sent += in_body(line)
        for path in _listing(host / "rejected"):
            if path.name.endswith(".json"):
                rejected += in_body(path.read_bytes())
        with contextlib.suppress(FileNotFoundError):
            dropped += (host / "dropped").stat().st_size
    return Seen(files, frozenset(elsewhere), frozenset(sent), frozenset(rejected), dropped)


def _listing(directory: Path) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (directory / name for name in names)


@dataclass
class Ledger:
    """What may have become of each event.

    Attributes:
        begun: every event that a writer began to write.
        acknowledged: those of which it said that they are in the spool.
        excused: those that may be gone, and why.
        may_double: those that may count twice (race 13).
        turned_away: how many a writer dropped and counted because its segment was at the cap.
        accepted: the keys under which each event was accepted.
        refused: the events that the collector refused.
        verdicts: the final word on each key: whether it was accepted.
        faults: what must not have happened.
    """

    begun: set[Text] = field(default_factory=set)
    acknowledged: set[Text] = field(default_factory=set)
    excused: dict[Text, str] = field(default_factory=dict)
    may_double: set[Text] = field(default_factory=set)
    turned_away: int = 0
    accepted: dict[Text, set[str]] = field(default_factory=dict)
    refused: set[Text] = field(default_factory=set)
    verdicts: dict[str, bool] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _bodies: dict[str, bytes] = field(default_factory=dict)
    _keys: dict[Text, set[str]] = field(default_factory=dict)
    _members: dict[str, Text] = field(default_factory=dict)

    def excuse(self, events: Iterable[Text], why: str) -> None:
        """These may be gone from now on."""
        self.excused.update(dict.fromkeys(events, why))

    def hear(self, request: Request) -> None:
        """Hold a request against what may be sent."""
        key, body, events = request.key, request.body, in_body(request.body)
        if self._bodies.setdefault(key, body) != body:
            self.faults.append(f"two bodies under the key {key}")
        plain = self._members.get(key)
        if (events != (plain,) or b'"burst":' in body) if plain else key != wire.key_of(body):
            self.faults.append(f"not the key of this body: {key}")
        if not events or not self.begun.issuperset(events):
            self.faults.append(f"nobody emitted what is in {body!r}")
        for event in events:
            keys = self._keys.setdefault(event, set())
            keys.add(key)
            final = [each for each in keys if self.verdicts.get(each) is not False or each in self._members]
            if max(len(final), len(keys) - 1) > 1 and event not in self.may_double:
                self.faults.append(f"{event} is sent under the keys {sorted(keys)}")

    def judged(self, request: Request, *, accepted: bool) -> None:
        """The collector said its final word on a body, or said nothing and took it."""
        self.verdicts[request.key] = accepted
        events = in_body(request.body)
        if accepted:
            for event in events:
                self.accepted.setdefault(event, set()).add(request.key)
            return
        self.refused.update(events)
        if b'"burst":' in request.body:
            for index, event in enumerate(events):
                self._members[wire.member_key(request.key, index)] = event

    def check(self, seen: Seen, in_hands: frozenset[Text] = frozenset()) -> None:
        """What holds after every step; ``in_hands`` is what a stopped process is just about to write."""
        assert not self.faults, self.faults
        assert seen.sent <= self.accepted.keys(), "the archive holds what nobody accepted"
        assert seen.rejected <= self.refused, "something is rejected that nobody refused"
        for event, keys in self.accepted.items():
            assert len(keys) == 1 or event in self.may_double, f"{event} counts {len(keys)} times"
        kept = seen.waiting | seen.rejected | seen.sent | in_hands | self.excused.keys()
        lost = self.acknowledged - kept
        counted = seen.dropped - self.turned_away
        assert len(lost) <= counted, f"{len(lost)} are gone, {counted} are counted: {sorted(lost)}"

    def check_caps(self, before: Seen, after: Seen, heard: Iterable[Request], *, cut_short: bool) -> None:
        """What a look counted as dropped is what it dropped; one file more if it was cut short."""
        kept = after.waiting | (after.sent - before.sent) | (after.rejected - before.rejected)
        requested = {event for request in heard for event in in_body(request.body)}
        least = most = 0
        for event in before.waiting:
            copies = before.copies[event] + (event in before.elsewhere)
            if event in requested or copies > 1:
                most += copies  # it was delivered, refused or dropped, or one of its copies was
            elif event not in kept:
                least, most = least + 1, most + 1
        if cut_short:
            most += max(len(before.elsewhere), *map(len, before.files.values()), 0)
        counted = after.dropped - before.dropped
        assert least <= counted <= most, f"{counted} were counted, {least} to {most} were dropped"
