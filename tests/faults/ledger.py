"""The ledger of the model and of the chaos run: where each event is, and what may have become of it.

The model knows an event by its whole content, the chaos run by its serial number. An acknowledged event is
in the spool, in a batch, in the outbox, in the archive or among the rejected ones; or it was purged,
forgotten, or destroyed by damage that the test did; or a cap dropped it and counted it. The collector gets
it under one key alone, or under the key of a refused burst and that of one member.
"""

import contextlib
import functools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from tests.support import records, wire
from tests.support.collector import Answer

_TAKEN = re.compile(r"(sealed-.+\.msgpack)\.(\d+)\.taken")


def text_of(record):
    """The identity of an event: keys in one order, and 1, 1.0 and true apart."""
    return json.dumps(record, sort_keys=True)


@functools.lru_cache(maxsize=4096)
def in_segment(data):
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
def in_body(body):
    try:
        return tuple(text_of(wire.plain(event)) for event in wire.expand(body))
    except (ValueError, TypeError, LookupError, AttributeError):
        return ()


def start_offset(name):
    """From which byte on a sealed segment is to be read, by its name."""
    digits = name.removesuffix(".msgpack").rpartition("-")[2]
    return int(digits[8:16], 16) if len(digits) == 24 else 0


@dataclass(frozen=True)
class Seen:
    """The events that lie in a home at some moment."""

    files: dict[Path, tuple[str, ...]]
    """The events in each sealed segment, body and split file: a cap may drop these."""
    elsewhere: frozenset[str]
    """The events in open segments, in batches in the making, and in tails that came late."""
    sent: frozenset[str]
    rejected: frozenset[str]
    dropped: int

    @functools.cached_property
    def waiting(self):
        return self.elsewhere.union(*self.files.values())

    @functools.cached_property
    def copies(self):
        """How often each event is in something that a cap may take."""
        return Counter(event for events in self.files.values() for event in events)


def see(hosts):  # noqa: C901, PLR0912 - a list of places, read from top to bottom
    files = {}
    elsewhere = []
    sent = []
    rejected = []
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
        for path in (path for path in _listing(host / "sent") if ".receipts." not in path.name):
            for line in path.read_bytes().splitlines():
                sent += in_body(line)
        for path in _listing(host / "rejected"):
            if path.name.endswith(".json"):
                rejected += in_body(path.read_bytes())
        with contextlib.suppress(FileNotFoundError):
            dropped += (host / "dropped").stat().st_size
    return Seen(files, frozenset(elsewhere), frozenset(sent), frozenset(rejected), dropped)


def _listing(directory):
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (directory / name for name in names)


def is_burst(request):
    return b'"burst":' in request.body


@dataclass
class Ledger:
    read: Callable[[bytes], tuple[Any, ...]] = in_body
    """Gives the events in a body."""
    begun: Any = field(default_factory=set)
    """Every event that a writer began to write; `issuperset` is asked."""
    acknowledged: set[Any] = field(default_factory=set)
    """The events that are told to be in the spool."""
    excused: dict[Any, str] = field(default_factory=dict)
    """The events that may be gone, and why."""
    may_double: set[Any] = field(default_factory=set)
    """The events that may count twice (race 13)."""
    turned_away: int = 0
    """The events that a writer dropped and counted because its segment was at the cap."""
    accepted: dict[Any, set[str]] = field(default_factory=dict)
    """The keys under which each event was accepted."""
    refused: set[Any] = field(default_factory=set)
    verdicts: dict[str, bool] = field(default_factory=dict)
    """The collector's final decision on each key: whether it accepted the body."""
    faults: list[str] = field(default_factory=list)
    """Sentences about anything that must not happen."""
    heard: dict[str, str] = field(default_factory=dict)
    """The digest of the body under each key."""
    _keys: dict[Any, set[str]] = field(default_factory=dict)
    _members: dict[str, Any] = field(default_factory=dict)

    def excuse(self, events, why):
        self.excused.update(dict.fromkeys(events, why))

    def hear(self, request):
        """Hold a request against what may be sent."""
        key, digest, events = request.key, wire.key_of(request.body), self.read(request.body)
        if self.heard.setdefault(key, digest) != digest:
            self.faults.append(f"two bodies under the key {key}")
        plain = self._members.get(key)
        if (events != (plain,) or is_burst(request)) if plain is not None else key != digest:
            self.faults.append(f"not the key of this body: {key}")
        if not events or not self.begun.issuperset(events):
            self.faults.append(f"nobody emitted what is in {request.body[:2000]!r}")
        for event in events:
            keys = self._keys.setdefault(event, set())
            keys.add(key)
            final = [each for each in keys if self.verdicts.get(each) is not False or each in self._members]
            if max(len(final), len(keys) - 1) > 1 and event not in self.may_double:
                self.faults.append(f"{event} is sent under the keys {sorted(keys)}")

    def decide(self, request, answer):
        """Give the answer that a real collector gives, which keeps to its decision on a key; note it."""
        verdict = self.verdicts.get(request.key)
        if verdict is True and answer.refuses:
            answer = Answer()
        elif verdict is False and answer.accepts:
            answer = Answer(422)
        if not (answer.accepts or answer.refuses):
            return answer
        self.verdicts[request.key] = answer.accepts
        events = self.read(request.body)
        if answer.accepts:
            for event in events:
                self.accepted.setdefault(event, set()).add(request.key)
            return answer
        self.refused.update(events)
        if is_burst(request):
            for index, event in enumerate(events):
                self._members[wire.member_key(request.key, index)] = event
        return answer

    def lost(self, kept):
        """Give the acknowledged events that are not kept anywhere."""
        return self.acknowledged - kept - self.excused.keys()

    def doubled(self):
        """Give the events that count more than once, with their keys."""
        return {
            event: sorted(keys)
            for event, keys in self.accepted.items()
            if len(keys) > 1 and event not in self.may_double
        }

    def check(self, seen, in_hands=frozenset()):
        """Check the promises after a step; a stopped process is about to write ``in_hands``."""
        assert not self.faults, self.faults
        assert seen.sent <= self.accepted.keys(), "the archive holds an event that was not accepted"
        assert seen.rejected <= self.refused, "an event is rejected that was not refused"
        assert not self.doubled(), self.doubled()
        lost = self.lost(seen.waiting | seen.rejected | seen.sent | in_hands)
        counted = seen.dropped - self.turned_away
        assert len(lost) <= counted, f"{len(lost)} are gone, {counted} are counted: {sorted(lost)}"

    def check_caps(self, before, after, heard, *, cut_short):
        """A pass counted the events that it dropped; those of one file more if it was cut short."""
        kept = after.waiting | (after.sent - before.sent) | (after.rejected - before.rejected)
        requested = {event for request in heard for event in self.read(request.body)}
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
