"""Finds out whether everything that was in the spool at some moment is delivered; only reads directories.

Segments and batches move one way: spool → work → outbox → deleted. A segment keeps its inode, and a batch its
name. Each check lists the directories in that order, so it cannot miss one that moves meanwhile. If the
sidecar of another host adopts them, they are in batches there. Each check lists those, too.

One kind of file moves back. A segment whose events are in bodies stays beside them, named
``<name>.<end>.taken``; ``end`` tells how far it was read. If a stopped writer has appended to it since, it
returns to the spool.

This module never writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from . import files, system
from .layout import ADOPTED_SUFFIX, BODY_SUFFIX, SEGMENT_SUFFIX, SPLIT_SUFFIX, HostPaths, is_whole
from .named import NamedTuple

TAKEN_SUFFIX = ".taken"

_MOST_DIGITS = 18


class Mark(NamedTuple):
    """The meaning of a segment's name in a batch."""

    segment: str
    """Its name before."""
    end: int
    """How far it was read, in bytes."""


def mark(name: str) -> Mark | None:
    """The mark in a file's name; None if the name has none."""
    segment, _, end = name.removesuffix(TAKEN_SUFFIX).rpartition(".")
    is_end = end.isascii() and end.isdecimal() and len(end) <= _MOST_DIGITS
    return Mark(segment, int(end)) if name.endswith(TAKEN_SUFFIX) and segment and is_end else None


class Waiting:
    """Everything that is undelivered on one host at the moment when this object is made.

    Args:
        host: the host whose spool and outbox count.
        adopted: whether to count batches that other hosts have adopted. They may be of any host.
    """

    def __init__(self, host: HostPaths, *, adopted: bool = True) -> None:
        self._host = host
        self._segments = self._spooled()
        self._batches, self._others = set[str](), set[str]()
        found = self._in_batches()
        if not adopted:
            self._others = found - {_own_name(name) for name in _batches(host)}
        self._batches = found - self._others

    def is_over(self) -> bool:
        """Whether everything that waited then is delivered, rejected or dropped.

        The directories of other hosts are listed last, because there may be thousands. Windows refuses to
        list a directory that is being removed; the next check succeeds.
        """
        try:
            return self._is_over()
        except PermissionError:
            if not system.WINDOWS:
                raise
            return False

    def _is_over(self) -> bool:
        if self._segments:
            self._segments &= self._spooled()
            if self._segments:
                return False
            # A segment that has left the spool since the last check is in one of the batches that exist now.
            self._batches |= self._in_batches()
        if not self._batches.isdisjoint(map(_own_name, _batches(self._host))):
            return False
        self._batches &= self._in_batches() if self._batches else set()
        return not self._batches

    def _spooled(self) -> set[int | str]:
        """The segments with events that are in no body yet: names of whole ones, inodes of the others."""
        found: set[int | str] = set()
        for batch in _entries(self._host.outbox):
            found.update(grown_segments(Path(batch.path)))
        # Listed last, because grown segments return to the spool.
        for entry in _entries(self._host.spool):
            if is_whole(entry.name):
                found.add(entry.name)  # without its status, because each would be a request to a server
            elif entry.name.endswith(SEGMENT_SUFFIX):
                with contextlib.suppress(OSError):
                    status = system.entry_status(entry)
                    if status.st_size:
                        found.add(status.st_ino)
        return found

    def _in_batches(self) -> set[str]:
        """The names of the batches that hold, or may hold, events of this host.

        All hosts are listed twice, because a batch may move from a later host to an earlier one meanwhile.
        """
        found: set[str] = set()
        for _ in range(2):
            found |= {_own_name(name) for name in _batches(self._host)}
            for other in _others(self._host):
                with contextlib.suppress(OSError):  # another host's unreadable directory does not matter here
                    for name in _batches(other):
                        if is_adopted(name) or name in self._batches:  # an adopted outbox keeps its names
                            found.add(_own_name(name))
        return found - self._others


def is_adopted(batch: str) -> bool:
    """Whether a batch of this name holds events of other hosts than its own."""
    return batch.endswith(ADOPTED_SUFFIX)


def _own_name(batch: str) -> str:
    """The name of a batch without the suffix that an adoption adds."""
    return batch.removesuffix(ADOPTED_SUFFIX)


def _batches(host: HostPaths) -> set[str]:
    """The names of the unfinished batches, and of the committed ones that have bodies left."""
    _, work, outbox = host.unsent
    making = {name.partition(".")[0] for name in _directories(work)} if files.entry_names(work) else set()
    return making | {name for name in files.entry_names(outbox) if has_bodies(f"{outbox}/{name}")}


def _others(host: HostPaths) -> Iterator[HostPaths]:
    for name in _directories(host.telemetry):
        if name != host.name:
            yield HostPaths(host.telemetry, name)


def has_bodies(batch: Path | str) -> bool:
    """Whether a committed batch still holds an undelivered body."""
    return any(entry.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) for entry in _entries(batch))


def grown_segments(batch: Path) -> Iterator[int]:
    """The inodes of the segments in a committed batch that have grown since they were read."""
    for entry in _entries(batch):
        if (marked := mark(entry.name)) is not None:
            with contextlib.suppress(OSError):
                status = system.entry_status(entry)
                if status.st_size > marked.end:
                    yield status.st_ino


def _directories(parent: Path | str) -> Iterator[str]:
    return (entry.name for entry in _entries(parent) if entry.is_dir(follow_symlinks=False))


def _entries(directory: Path | str) -> Iterator[os.DirEntry[str]]:
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        files.estale_as_missing(),
        os.scandir(directory) as entries,
    ):
        yield from entries
