"""Caps: what was not sent, and the record of what was, by size and by age; the oldest goes first.

Everything that a cap takes from what was not sent is counted, one byte in ``dropped`` for every event.
Ages are differences between times of the file system; a negative one is no age.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry import files
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths
from flwr_telemetry.locks import LockResult
from flwr_telemetry.settings_file import Limits

from ..spool import quarantine, reader, segments
from ..spool.directory import entry_names, is_ours, known_hosts, listing
from ..spool.locks import sealer_lock
from . import body, contents

_MIB = 1024 * 1024


_DAY_S = 86_400.0


class _Item(NamedTuple):
    """A file that a cap may take; there may be a hundred thousand."""

    modified: float
    path: str
    size_bytes: int
    host: HostPaths


def enforce(home: Home, limits: Limits, now: float) -> int:
    """Hold all hosts of a home to the caps.

    Args:
        home: the home.
        limits: the caps.
        now: the file system's time.

    Returns:
        How many events were dropped.
    """
    known = [host for host in known_hosts(home) if is_ours(host) and _can_be_listed(host)]
    dropped = 0
    cap_bytes, cap_s = limits.spool_max_mib * _MIB, limits.spool_max_days * _DAY_S
    unsent = functools.partial(_unsent, known)
    for item in _over(unsent, cap_bytes, cap_s, now):
        dropped += _drop(item)
    cap_bytes, cap_s = limits.sent_max_mib * _MIB, limits.sent_max_days * _DAY_S
    for host in known:
        for directory in (host.sent, host.rejected, host.damaged):
            kept = functools.partial(_items, host, directory)
            for item in _over(kept, cap_bytes, cap_s, now):
                with contextlib.suppress(FileNotFoundError):
                    if directory == host.sent and item == max(kept()) and now - item.modified <= cap_s:
                        _keep_newest_lines(Path(item.path), cap_bytes / 2)
                    else:
                        os.unlink(item.path)
    return dropped


def unsent_bytes(home: Home) -> int:
    """How much of ``spool_max_mib`` is taken."""
    known = [host for host in known_hosts(home) if is_ours(host) and _can_be_listed(host)]
    return sum(item.size_bytes for item in _unsent(known))


def _can_be_listed(host: HostPaths) -> bool:
    """Whether we may look into it; what a host keeps from us is that host's trouble."""
    try:
        entry_names(host.outbox)
    except OSError:
        return False
    return True


def _keep_newest_lines(path: Path, keep_bytes: float) -> None:
    """Shorten the archive of a day that is over the cap by itself: its oldest lines go."""
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as archive:
        archive.seek(max(os.fstat(archive.fileno()).st_size - int(keep_bytes), 0))
        if archive.tell():
            archive.readline()  # the rest of a line
        files.replace_by(path, iter(functools.partial(archive.read, segments.CHUNK_BYTES), b""))


def _items(host: HostPaths, directory: Path) -> Iterator[_Item]:
    """The files in a directory, as they are met."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                yield _Item(status.st_mtime, entry.path, status.st_size, host)


def _unsent(known: list[HostPaths]) -> Iterator[_Item]:
    """Sealed segments and bodies; the open segment is its writers' affair."""
    for host in known:
        for item in _items(host, host.spool):
            if segments.is_sealed(os.path.basename(item.path)):
                yield item
        for directory in listing(host.outbox):
            for item in _items(host, directory):
                if item.path.endswith((BODY_SUFFIX, SPLIT_SUFFIX)):
                    yield item


def _over(
    items: Callable[[], Iterator[_Item]], cap_bytes: float, cap_s: float, now: float
) -> Iterator[_Item]:
    """What is over one of the caps, oldest first; nothing is kept in memory while nothing is."""
    total, oldest = 0, now
    for item in items():
        total += item.size_bytes
        oldest = min(oldest, item.modified)
    if total <= cap_bytes and now - oldest <= cap_s:
        return
    for item in sorted(items()):
        if total <= cap_bytes and now - item.modified <= cap_s:
            break
        total -= item.size_bytes
        yield item


def _drop(item: _Item) -> int:
    """Count, then delete, what a cap takes; the number of its events."""
    path = Path(item.path)
    try:
        if segments.is_sealed(path.name):
            return _drop_segment(item.host, path)
        # A damaged one held something, too.
        events = max(contents.count_events(body.read(path)), 1)
        _count_and_unlink(item.host, path, events)
    except FileNotFoundError:
        return 0  # delivered at last
    except TelemetryError:
        quarantine.quarantine(item.host, path)  # no file of ours
        return 0
    return events


def _drop_segment(host: HostPaths, path: Path) -> int:
    """The same for a segment, to which a writer that was stopped may still add something."""
    descriptor = files.open_file(path, os.O_RDWR)
    try:
        with sealer_lock(descriptor, 0) as result:
            if result is LockResult.BUSY:
                return 0  # that writer has yet to see whether it is in time; next time, then
            segments.mark_tombstone(descriptor)
            end = segments.start_offset(path.name)
            events, end = _events_behind(descriptor, end)
            _count_and_unlink(host, path, events)
        # What came without a lock while they were counted is gone with the rest.
        late, _ = _events_behind(descriptor, end)
        if late:
            files.append_bytes(host.dropped, b"\0" * late)
        return events + late
    finally:
        os.close(descriptor)


def _events_behind(descriptor: int, offset_bytes: int) -> tuple[int, int]:
    """The number of events behind an offset, and where they end."""
    events = 0
    for piece in reader.read(segments.chunks_of(descriptor, offset_bytes)):
        if isinstance(piece, reader.Record):
            events += 1
            offset_bytes += piece.size_bytes
        else:
            offset_bytes += len(piece.data)
    return events, offset_bytes


def _count_and_unlink(host: HostPaths, path: Path, events: int) -> None:
    """Counted first: a death in between must not hide a loss. By one sidecar at a time, where locks work."""
    descriptor = files.open_file(host.dropped, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        with sealer_lock(descriptor):
            path.lstat()  # else another one dropped it, or delivered it at last
            try:
                files.write_all(descriptor, b"\0" * events)
            except OSError:
                path.unlink()  # a full disk must not keep a cap from making room
                files.write_all(descriptor, b"\0" * events)
            else:
                path.unlink()
    finally:
        os.close(descriptor)
