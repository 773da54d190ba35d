"""Is all that was spooled at some moment delivered? Answered by looking at the directory alone.

Things move one way, spool → work → outbox → gone, and keep their identity: a segment its inode, a batch
its name. Each look lists the directories in that order, so that nothing can slip past it. This room
must never write.
"""

from __future__ import annotations

import os
from pathlib import Path

from .layout import BODY_SUFFIX, SEGMENT_SUFFIX, SPLIT_SUFFIX, HostPaths


class Waiting:
    """What is undelivered on one host at the moment when this is made.

    Args:
        host: whose spool and outbox.
    """

    def __init__(self, host: HostPaths) -> None:
        self._host = host
        self._segments = self._spooled()
        self._batches = self._in_batches()

    def is_over(self) -> bool:
        """Whether everything that waited then has left, delivered, rejected or dropped."""
        if self._segments:
            self._segments &= self._spooled()
            # What left the spool since the last look is in one of the batches that exist now.
            self._batches |= self._in_batches()
        self._batches &= self._in_batches()
        return not self._segments and not self._batches

    def _spooled(self) -> set[int]:
        """The inodes of the segments in the spool that hold anything."""
        found = set()
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
        """The names of the batches in the making, and of the committed ones that have bodies left."""
        making = {
            entry.name.partition(".")[0]
            for entry in _entries(self._host.work)
            if entry.is_dir(follow_symlinks=False)  # anything else is nobody's batch
        }
        return making | {entry.name for entry in _entries(self._host.outbox) if has_bodies(Path(entry.path))}


def has_bodies(batch: Path) -> bool:
    """Whether a committed batch still holds a body that was not delivered."""
    return any(entry.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) for entry in _entries(batch))


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
