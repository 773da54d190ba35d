"""A refused burst becomes bodies of one event each, in Flower's plain form.

``<key>.json`` is renamed to ``<key>.split``, the events are written beside it, then it is unlinked. A split
file is never sent. While it exists its events are not sent either, so writing them twice doubles nothing.

16. Death within a split: it is done again from the split file, with the same keys and the same bytes.

This module never sends, and never decides what an answer means.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import files, system
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, HostPaths
from flwr_telemetry.named import NamedTuple

from ..burst import codec
from ..spool import quarantine
from . import body, durable
from .body import Body


class Split(NamedTuple):
    """A burst that was split."""

    host: HostPaths
    directory: Path
    """The batch, in the outbox of ``host``."""
    key: str
    """The key of the burst."""
    events: int
    """How many events it has; 0 if another sidecar split it."""

    def members(self, first: int = 0) -> Iterator[Body]:
        """The bodies of its events, in order of time, from index ``first`` on; some may be gone."""
        for index in range(first, self.events):
            yield Body(self.host, self.directory / f"{member_key(self.key, index)}{BODY_SUFFIX}")


def member_key(burst_key: str, index: int) -> str:
    """The key of one event of a split burst."""
    return hashlib.sha256(f"{burst_key}/{index}".encode()).hexdigest()


def split(whole: Body) -> Split | None:
    """Turn a refused burst into bodies of one event each; None if it is damaged and quarantined."""
    path = whole.path.with_suffix(SPLIT_SUFFIX)
    try:
        os.rename(whole.path, path)
        return finish(whole.host, path)
    except FileNotFoundError:
        return Split(whole.host, path.parent, whole.key, 0)


def finish(host: HostPaths, path: Path) -> Split | None:
    """Write the events of a split file beside it, then unlink it; None if it is damaged and quarantined.

    Raises:
        FileNotFoundError: another sidecar finished it.
    """
    key = path.name.removesuffix(SPLIT_SUFFIX)
    data, count = b"", 0
    with contextlib.suppress(*quarantine.NOT_OURS_ERRORS):
        data = body.read(path)
    with contextlib.suppress(codec.NotABodyError):
        if "burst" in body.intact(key, data):
            for event in codec.events(data):
                event_file = path.with_name(f"{member_key(key, count)}{BODY_SUFFIX}")
                files.replace_bytes(event_file, codec.dumps(event).encode())
                count += 1
            whole = Split(host, path.parent, key, count)
            durable.sync_files(path.parent, count, (event.path.name for event in whole.members()))
            system.fsync_directory(path.parent)
            path.unlink()
            return whole
    quarantine.quarantine(host, path)
    return None
