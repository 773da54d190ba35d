"""Caps of size and of age on what was not sent, and on the archive; the oldest files go first.

Every unsent event that a cap takes is counted: ``dropped`` gets one byte for it. Ages are differences between
times of the file system; a file whose time lies ahead has no age.
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
    """Seconds since the epoch. It is the first field, because items are sorted by it."""
    path: str
    size_bytes: int
    host: HostPaths


def enforce(home: Home, limits: Limits, now: float) -> int:
    """Hold all hosts of a home to the caps.

    Args:
        home: the home.
        limits: the caps.
        now: the file system's time, in seconds since the epoch.

    Returns:
        How many events were dropped.
    """
    hosts = [host for host in known_hosts(home) if is_ours(host) and _is_readable(host)]
    cap_bytes, cap_s = limits.spool_max_mib * _MIB, limits.spool_max_days * _DAY_S
    dropped = sum(map(_drop, _over(functools.partial(_unsent, hosts), cap_bytes, cap_s, now)))
    cap_bytes, cap_s = limits.sent_max_mib * _MIB, limits.sent_max_days * _DAY_S
    for host in hosts:
        for directory in (host.sent, host.rejected, host.damaged):
            kept = functools.partial(_items, host, directory)
            for item in _over(kept, cap_bytes, cap_s, now):
                with contextlib.suppress(FileNotFoundError):
                    if directory == host.sent and item == max(kept()) and now - item.modified <= cap_s:
                        _keep_newest_lines(Path(item.path), cap_bytes / 2)
                    else:
                        os.unlink(item.path)
    return dropped


def _is_readable(host: HostPaths) -> bool:
    try:
        entry_names(host.outbox)
    except OSError:
        return False  # a problem of that host, which must not stop the others
    return True


def _keep_newest_lines(path: Path, keep_bytes: float) -> None:
    """Delete the oldest lines of an archive that exceeds the cap alone."""
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as archive:
        archive.seek(max(os.fstat(archive.fileno()).st_size - int(keep_bytes), 0))
        if archive.tell():
            archive.readline()  # the rest of a line
        files.replace_by(path, iter(functools.partial(archive.read, segments.CHUNK_BYTES), b""))


def _items(host: HostPaths, directory: Path) -> Iterator[_Item]:
    """The files in a directory, unordered."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                yield _Item(status.st_mtime, entry.path, status.st_size, host)


def _unsent(hosts: list[HostPaths]) -> Iterator[_Item]:
    """Sealed segments and bodies. A writer drops events by itself if the open segment is too large."""
    for host in hosts:
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
    """The items that exceed a cap, oldest first. If none does, no item is kept in memory."""
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
    """Count the events of a file, then delete it; how many they were."""
    path = Path(item.path)
    try:
        if segments.is_sealed(path.name):
            return _drop_segment(item.host, path)
        events = max(contents.count_events(body.read(path)), 1)  # a damaged body held at least one event
        _count_and_unlink(item.host, path, events)
    except FileNotFoundError:
        return 0  # another sidecar delivered or dropped it
    except TelemetryError:
        quarantine.quarantine(item.host, path)
        return 0
    return events


def _drop_segment(host: HostPaths, path: Path) -> int:
    """As ``_drop``, for a segment, to which a stopped writer may still append."""
    with files.opened(path, os.O_RDWR) as descriptor:
        with sealer_lock(descriptor, 0) as result:
            if result is LockResult.BUSY:
                return 0  # the stopped writer must find its segment when it goes on; the next call drops it
            segments.mark_tombstone(descriptor)
            events, end = _events_from(descriptor, segments.start_offset(path.name))
            _count_and_unlink(host, path, events)
        # A writer without the lock may have appended while they were counted.
        late, _ = _events_from(descriptor, end)
        if late:
            files.append_bytes(host.dropped, b"\0" * late)
        return events + late


def _events_from(descriptor: int, offset_bytes: int) -> tuple[int, int]:
    """The number of events from an offset on, and the offset at which the last piece ends."""
    events = 0
    for piece in reader.read(segments.chunks_of(descriptor, offset_bytes)):
        events += isinstance(piece, reader.Record)
        offset_bytes += piece.size_bytes
    return events, offset_bytes


def _count_and_unlink(host: HostPaths, path: Path, events: int) -> None:
    """Count first, because a death in between must not hide a loss. The lock admits one sidecar at a time.

    Raises:
        FileNotFoundError: another sidecar dropped or delivered the file.
    """
    with (
        files.opened(host.dropped, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor,
        sealer_lock(descriptor),
    ):
        path.lstat()
        try:
            files.write_all(descriptor, b"\0" * events)
        except OSError:
            path.unlink()  # a full disk must not keep a cap from freeing space
            files.write_all(descriptor, b"\0" * events)
        else:
            path.unlink()
