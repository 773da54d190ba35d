"""Is all that was spooled at some moment delivered? Answered by looking at the directory alone.

Things move one way, spool → work → outbox → gone, and keep their identity: a segment its inode, a batch
its name. Each look lists the directories in that order, so that nothing can slip past it. A sidecar of
another host may adopt them; then they are in batches there, and are looked for there, too. One thing goes
back: a segment whose events are in bodies already lies beside them, marked ``<name>.<end>.taken`` with how
far it was read; if a writer that was stopped has added to it since, it returns to the spool. This room must
never write.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import files
from .layout import ADOPTED_SUFFIX, BODY_SUFFIX, SEGMENT_SUFFIX, SPLIT_SUFFIX, HostPaths

TAKEN_SUFFIX = ".taken"

_MARKED = re.compile(rf"(.+)\.([0-9]{{1,18}}){re.escape(TAKEN_SUFFIX)}")


class Mark(NamedTuple):
    """What the name of a segment in a batch tells.

    Attributes:
        segment: its name before.
        end: how far it was read, in bytes.
    """

    segment: str
    end: int


def mark(name: str) -> Mark | None:
    """The mark in a file's name; None if it has none."""
    found = _MARKED.fullmatch(name) if name.endswith(TAKEN_SUFFIX) else None
    return None if found is None else Mark(found[1], int(found[2]))


class Waiting:
    """What is undelivered on one host at the moment when this is made.

    Args:
        host: whose spool and outbox.
        adopted: whether what other hosts had adopted by then counts, which may or may not be this host's.
    """

    def __init__(self, host: HostPaths, *, adopted: bool = True) -> None:
        self._host = host
        self._segments = self._spooled()
        self._batches: set[str] = set()
        self._others: set[str] = set()
        found = self._in_batches()
        if not adopted:
            self._others = found - {_own_name(name) for name in _batches(host)}
        self._batches = found - self._others

    def is_over(self) -> bool:
        """Whether everything that waited then has left, delivered, rejected or dropped."""
        if self._segments:
            self._segments &= self._spooled()
            # What left the spool since the last look is in one of the batches that exist now.
            self._batches |= self._in_batches()
        self._batches &= self._in_batches()
        return not self._segments and not self._batches

    def _spooled(self) -> set[int]:
        """The inodes of the segments that hold anything which is in no body yet."""
        found: set[int] = set()
        for batch in _entries(self._host.outbox):
            found.update(grown_segments(Path(batch.path)))
        # Listed last, since this is where those go.
        for entry in _entries(self._host.spool):
            if entry.name.endswith(SEGMENT_SUFFIX):
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_size:
                    found.add(status.st_ino)
        return found

    def _in_batches(self) -> set[str]:
        """The names of the batches that hold, or may hold, what is this host's.

        All hosts are looked at twice: a batch may be renamed from one that comes later to one before it.
        """
        found: set[str] = set()
        for _ in range(2):
            found |= {_own_name(name) for name in _batches(self._host)}
            for other in _others(self._host):
                with contextlib.suppress(OSError):  # another host's trouble
                    for name in _batches(other):
                        if is_adopted(name) or name in self._batches:  # an outbox is adopted as it is
                            found.add(_own_name(name))
        return found - self._others


def is_adopted(batch: str) -> bool:
    """Whether a batch of this name holds events of other hosts than the one that makes it."""
    return batch.endswith(ADOPTED_SUFFIX)


def _own_name(batch: str) -> str:
    """What a batch is called, wherever it is."""
    return batch.removesuffix(ADOPTED_SUFFIX)


def _batches(host: HostPaths) -> set[str]:
    """The names of the batches in the making, and of the committed ones that have bodies left."""
    making = {
        entry.name.partition(".")[0]
        for entry in _entries(host.work)
        if entry.is_dir(follow_symlinks=False)  # anything else is nobody's batch
    }
    return making | {entry.name for entry in _entries(host.outbox) if has_bodies(Path(entry.path))}


def _others(host: HostPaths) -> Iterator[HostPaths]:
    for entry in _entries(host.telemetry):
        if entry.name != host.name and entry.is_dir(follow_symlinks=False):
            yield HostPaths(host.telemetry, entry.name)


def has_bodies(batch: Path) -> bool:
    """Whether a committed batch still holds a body that was not delivered."""
    return any(entry.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) for entry in _entries(batch))


def grown_segments(batch: Path) -> Iterator[int]:
    """The inodes of the segments in a committed batch that were added to after they were read."""
    for entry in _entries(batch):
        marked = mark(entry.name)
        if marked is not None:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_size > marked.end:
                    yield status.st_ino


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        files.stale_is_gone(),
        os.scandir(directory) as entries,
    ):
        yield from entries
