"""What lies at each stage of an event's way, for those who only look.

    spool     the open segment, the sealed ones, and those of batches in the making (``work/``)
    outbox    bodies that wait for delivery; a burst that is being split counts as the burst
    sent      the archive: one body a line (``outbox/archive.py``)
    rejected  bodies that the collector refused

Everything is read as a stream, and everything may move on or vanish while it is read: FileNotFoundError
means just that. A segment in ``outbox/<batch>/`` is already in the bodies beside it and is not shown.

This room must never create, lock, rename or delete anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flwr_telemetry import record
from flwr_telemetry.layout import BODY_SUFFIX, SEGMENT_SUFFIX, SPLIT_SUFFIX, HostPaths

from ..burst import codec
from ..spool import reader, segments
from ..spool.directory import listing
from .body import decoded
from .body import read as read_body
from .split import member_key


def spool_segments(host: HostPaths) -> list[Path]:
    """The segments that are in no committed batch, oldest first, the open one last."""
    found = [path for path in listing(host.spool) if segments.is_sealed(path.name)]
    for batch in listing(host.work):
        found += [path for path in listing(batch) if segments.is_sealed(_segment_name(path))]
    found.sort(key=_segment_name)
    return [*found, host.events] if host.events.exists() else found


def read_segment(path: Path, offset_bytes: int = 0) -> Iterator[reader.Record[record.Event] | reader.Damage]:
    """What is in a segment from ``offset_bytes`` on, or from where its name says that reading begins."""
    return reader.read(segments.chunks(path, max(offset_bytes, first_byte(path))))


def first_byte(path: Path) -> int:
    """From which byte on a segment is to be read, in whatever room it is."""
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
    """How many events a body stands for; 0 if it is damaged."""
    return codec.count(decoded(body))


def expand(body: bytes) -> list[dict[str, Any]]:
    """The events in a body; none if it is damaged."""
    try:
        return codec.expand(body)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []


def _segment_name(path: Path) -> str:
    """A segment's own name, without the mark that it gets while a batch is made."""
    stem, suffix, _ = path.name.partition(SEGMENT_SUFFIX)
    return stem + suffix


def _member_names(split: Path) -> list[str]:
    """The file names under which the events of a burst are put that is being split."""
    try:
        count = count_events(read_body(split))
    except FileNotFoundError:
        return []
    key = split.name.removesuffix(SPLIT_SUFFIX)
    return [f"{member_key(key, index)}{BODY_SUFFIX}" for index in range(count)]
