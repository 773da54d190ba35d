"""The files of each stage of a host, for readers such as ``status`` and ``inspect``.

    spool     the open segment, the sealed ones, and those of unfinished batches (``work/``)
    outbox    bodies that wait for delivery; a burst that is being split counts as the burst
    sent      the archive: one body a line (``outbox/archive.py``)
    rejected  bodies that the collector refused

Everything is read as a stream. A file may move on or vanish at any moment; FileNotFoundError means just that.
A segment in ``outbox/<batch>/`` is not listed, because its events are in the bodies beside it.

This module never creates, locks, renames or deletes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flwr_telemetry import record
from flwr_telemetry.layout import BODY_SUFFIX, SEGMENT_SUFFIX, SPLIT_SUFFIX, HostPaths
from flwr_telemetry.named import Any

from ..burst import codec
from ..spool import reader, segments
from ..spool.directory import listing
from .body import decoded
from .body import read as read_body
from .split import member_key


def spool_segments(host: HostPaths) -> list[Path]:
    """The segments that are in no committed batch, oldest first, the open one last."""
    found = segments.sealed_segments(host)
    for batch in listing(host.work):
        found += [path for path in listing(batch) if segments.is_sealed(_segment_name(path))]
    found.sort(key=_segment_name)
    return [*found, host.events] if host.events.exists() else found


def read_segment(path: Path, offset_bytes: int = 0) -> Iterator[reader.Record[record.Event] | reader.Damage]:
    """The records and the damage of a segment from ``offset_bytes`` on; never from before ``first_byte``."""
    return reader.read(segments.chunks(path, max(offset_bytes, first_byte(path))))


def first_byte(path: Path) -> int:
    """The byte from which a segment is read; its file may have the mark of a batch."""
    return segments.start_offset(_segment_name(path))


def outbox_bodies(host: HostPaths) -> Iterator[Path]:
    """The files of the bodies that wait for delivery, oldest batch first."""
    for batch in listing(host.outbox):
        paths = listing(batch)
        splits = [path for path in paths if path.name.endswith(SPLIT_SUFFIX)]
        members = {name for split in splits for name in _member_names(split)}
        yield from splits
        yield from (path for path in paths if path.name.endswith(BODY_SUFFIX) and path.name not in members)


def rejected_bodies(host: HostPaths) -> list[Path]:
    """The files of the bodies that the collector refused."""
    return [path for path in listing(host.rejected) if path.name.endswith(BODY_SUFFIX)]


def count_events(body: bytes) -> int:
    """The number of events in a body; 0 if it is damaged."""
    return codec.count(decoded(body))


def expand(body: bytes) -> list[dict[str, Any]]:
    """The events in a body; none if it is damaged."""
    try:
        return codec.expand(body)
    except codec.NotABodyError:
        return []


def _segment_name(path: Path) -> str:
    """A segment's name without the mark of a batch."""
    stem, suffix, _ = path.name.partition(SEGMENT_SUFFIX)
    return stem + suffix


def _member_names(split: Path) -> list[str]:
    """The file names of the events of a burst that is being split."""
    try:
        count = count_events(read_body(split))
    except FileNotFoundError:
        return []
    key = split.name.removesuffix(SPLIT_SUFFIX)
    return [f"{member_key(key, index)}{BODY_SUFFIX}" for index in range(count)]
