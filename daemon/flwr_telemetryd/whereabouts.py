"""Where in a home the bodies are that were handed to it: they wait, or were delivered, refused or dropped.

Whatever host of the home they were handed to, another one may adopt the whole batch, and deliver it: each
question is asked of all hosts. A batch that is renamed from one host to another while they are listed may be
missed by one look, so that two are taken together.

This room must never create, rename or delete anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths

from . import burst, retention, segments, stages
from .body import decoded, key_of
from .body import read as read_body
from .cursor import Handed
from .split import member_key

_READS = 10


def waiting_on(hosts: Iterable[HostPaths]) -> dict[str, str]:
    """The keys of the bodies in the outboxes of these hosts, each with the name of the host that has it."""
    return {
        name.removesuffix(BODY_SUFFIX).removesuffix(SPLIT_SUFFIX): host.name
        for host in hosts
        for directory in segments.listing(host.outbox)
        for name in segments.names(directory)
        if name.endswith((BODY_SUFFIX, SPLIT_SUFFIX))
    }


def waiting(home: Home) -> dict[str, str]:
    """The same of all hosts of a home."""
    return waiting_on(retention.hosts(home)) | waiting_on(retention.hosts(home))


def names_of(bodies: Mapping[str, bytes]) -> frozenset[str]:
    """The keys under which these bodies may wait: their own, and those of the events of a refused burst."""
    found = set(bodies)
    for key, data in bodies.items():
        if "burst" in decoded(data):
            count = min(stages.count_events(data), len(data))  # no event takes less than a byte
            found.update(member_key(key, index) for index in range(count))
    return frozenset(found)


class Watch:
    """Looks again and again at what is left of some bodies.

    Attributes:
        moved_at: when one of them was first seen to be gone, last; at first, when this was made. What only
            goes from host to host moves nothing for ever: each counts once.

    Args:
        home: in which home.
        names: their keys.
        monotonic: time.
    """

    def __init__(self, home: Home, names: frozenset[str], monotonic: Callable[[], float]) -> None:
        self._home = home
        self._names = names
        self._monotonic = monotonic
        self._seen: set[str] = set()
        self._gone: set[str] = set()
        self.moved_at = self.looked_at = monotonic()
        self.look()

    def look(self) -> dict[str, str]:
        """What is left, as ``waiting`` gives it."""
        left = {name: host for name, host in waiting(self._home).items() if name in self._names}
        self._seen |= left.keys()
        gone = self._seen - left.keys() - self._gone
        self._gone |= gone
        self.looked_at = self._monotonic()
        if gone:
            self.moved_at = self.looked_at
        return left


def refused(home: Home) -> dict[str, Path]:
    """The bodies that the collector refused, on whatever host, by their keys."""
    return {
        path.name.removesuffix(BODY_SUFFIX): path
        for host in retention.hosts(home)
        for path in stages.rejected_bodies(host)
    }


def refused_since(home: Home, before: Mapping[str, Path], names: frozenset[str]) -> int:
    """How many events of the bodies under these keys were refused since ``refused`` told ``before``."""
    events = 0
    for name, path in refused(home).items():
        if name in names and name not in before:
            with contextlib.suppress(FileNotFoundError):
                events += stages.count_events(read_body(path))
    return events


def dropped(home: Home) -> int:
    """How many events a cap has dropped in a home.

    The count of a host that is gone goes over to another one's, so that it is read until it stands still.
    """
    last, now = -1, _dropped(home)
    for _ in range(_READS):
        if last == now:
            break
        last, now = now, _dropped(home)
    return now


def _dropped(home: Home) -> int:
    return sum(map(_size_bytes, (host.dropped for host in retention.hosts(home))))


def _size_bytes(path: os.PathLike[str]) -> int:
    try:
        return os.lstat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def about_to_hand(home: Home, end: int) -> Handed:
    """Where the archives of a home end now, for ``taken`` and ``unanswered``."""
    archives = {}
    for host in retention.hosts(home):
        newest = max(stages.archive_files(host), default=None, key=lambda path: path.name)
        if newest is not None:
            archives[host.name] = (newest.name, _size_bytes(newest))
    return Handed(end, str(home.telemetry), archives)


def taken(home: Home, handed: Handed | None, bodies: Mapping[str, bytes]) -> set[str]:
    """The keys of the bodies that a home has already: they wait, or were answered since ``handed``.

    What was archived before that went somewhere else: a home may have delivered into the very file that is
    relayed. A burst that was refused is told by its first event, which is decided first.
    """
    waits = waiting(home).keys()  # before the archives, since this is where they go
    if handed is None:
        return bodies.keys() & waits
    by_name = waits | refused(home).keys()
    accepted = _archived(home, handed)
    return {
        key
        for key, data in bodies.items()
        if key in by_name or key in accepted or _first_is_known(key, data, by_name, accepted)
    }


def unanswered(home: Home, handed: Handed, bodies: Mapping[str, bytes]) -> bool:
    """Whether a body, or an event of a burst, was neither accepted nor refused since ``handed``."""
    rejected = refused(home).keys()
    accepted = _archived(home, handed)
    return not all(
        key in rejected or key in accepted or _all_are_known(key, data, rejected, accepted)
        for key, data in bodies.items()
    )


def _archived(home: Home, since: Handed) -> set[str]:
    keys = set()
    for host in retention.hosts(home):
        newest, size = since.archives.get(host.name, ("", 0))
        for path in stages.archive_files(host):
            if path.name >= newest:
                try:
                    start = size if path.name == newest else 0
                    keys |= {key_of(line) for line, _ in stages.read_archive(path, start)}
                except FileNotFoundError:
                    continue  # its time was over
    return keys


def _first_is_known(key: str, data: bytes, by_name: set[str], by_bytes: set[str]) -> bool:
    if "burst" not in decoded(data):
        return False
    if member_key(key, 0) in by_name:
        return True
    try:
        first = next(burst.events(data))
    except (burst.NotABodyError, StopIteration):
        return False
    return key_of(burst.dumps(first).encode()) in by_bytes


def _all_are_known(key: str, data: bytes, by_name: Iterable[str], by_bytes: set[str]) -> bool:
    if "burst" not in decoded(data):
        return False
    try:
        return all(
            member_key(key, index) in by_name or key_of(burst.dumps(event).encode()) in by_bytes
            for index, event in enumerate(burst.events(data))
        )
    except burst.NotABodyError:
        return False
