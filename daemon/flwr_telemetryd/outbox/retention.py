"""Caps of size and of age on what was not sent, and on the archive; the oldest files go first.

Every unsent event that a cap takes is counted: ``dropped`` gets one byte for it. Ages are differences between
times of the file system; a file whose time lies ahead has no age.

On a shared home nothing is locked. There a file is renamed to this host's directory before its events are
counted, so that one machine counts them, in its own ``dropped``. After a death in between they are delivered.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from flwr_telemetry import files, machine, mounts, presence, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths, is_whole
from flwr_telemetry.locks import LockResult
from flwr_telemetry.named import NamedTuple
from flwr_telemetry.settings_file import Limits
from flwr_telemetry.spool.whole import LEAST_BYTES

from ..errors import is_full
from ..spool import quarantine, reader, segments
from ..spool.directory import entry_names, is_ours, known_hosts, listing, remove_if_empty, rename
from ..spool.locks import sealer_lock
from . import archive, batch, body, contents

_MIB = 1024 * 1024
_DAY_S = 86_400.0


class _Sum(NamedTuple):
    """The files of a directory, in two numbers."""

    size_bytes: int
    oldest: float
    """The earliest modification time, in seconds since the epoch; infinite without a file."""

    def is_over(self, cap_bytes: float, cap_s: float, now: float) -> bool:
        """Whether these files exceed a cap."""
        return self.size_bytes > cap_bytes or now - self.oldest > cap_s


_NOTHING = _Sum(0, math.inf)


class _Item(NamedTuple):
    """A file that a cap may take; there may be a hundred thousand."""

    modified: float
    """Seconds since the epoch. It is the first field, because items are sorted by it."""
    path: str
    size_bytes: int
    host: HostPaths


class BatchSums:
    """Remembers what the batches in an outbox hold: a batch is read again only if its directory has changed.

    A body never changes, and an outage may leave a hundred thousand of them.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, _Sum]] = {}
        self._seen: dict[str, tuple[object, _Sum]] = {}

    def of(self, directory: str) -> _Sum:
        """The sum of a batch."""
        signature = files.signature(directory)
        known = self._known.get(directory)
        if known is None or known[0] != signature:
            known = signature, _sum_of(directory, _is_unsent_body)
        self._seen[directory] = known
        return known[1]

    def end(self) -> None:
        """Forget the batches that were not asked for since the last end."""
        self._known, self._seen = self._seen, {}


def enforce(home: Home, limits: Limits, now: float) -> int:
    """Hold all hosts of a home to the caps; as ``enforce_unsent`` and ``enforce_archives``."""
    own = machine.own_host(home) if mounts.is_shared(home.path) else None
    enforce_archives(home, limits, now, own)
    return enforce_unsent(home, limits, now, BatchSums(), own)


def enforce_unsent(
    home: Home, limits: Limits, now: float, sums: BatchSums, own: HostPaths | None = None
) -> int:
    """Hold what was not sent to its caps, over all hosts together.

    Args:
        home: the home.
        limits: the caps.
        now: the file system's time, in seconds since the epoch.
        sums: what an earlier call found.
        own: this host, if the home is shared.

    Returns:
        How many events were dropped.
    """
    unsent = {}
    for host in known_hosts(home):
        with contextlib.suppress(OSError):  # a problem of that host, which must not stop the others
            unsent[host] = _unsent_sum(host, sums)
    sums.end()
    cap_bytes, cap_s = limits.spool_max_mib * _MIB, limits.spool_max_days * _DAY_S
    # Most hosts hold nothing, and need no further check.
    holders = [host for host, held in unsent.items() if held != _NOTHING and is_ours(host)]
    if not _added(map(unsent.__getitem__, holders)).is_over(cap_bytes, cap_s, now):
        return 0
    drop = _drop if own is None else functools.partial(_drop_shared, own)
    return sum(map(drop, _over(functools.partial(_unsent, holders), cap_bytes, cap_s, now)))


def enforce_archives(home: Home, limits: Limits, now: float, own: HostPaths | None = None) -> None:
    """Hold what each host keeps of the past to its caps; arguments as for ``enforce_unsent``."""
    cap_bytes, cap_s = limits.sent_max_mib * _MIB, limits.sent_max_days * _DAY_S
    for host in known_hosts(home):
        with contextlib.suppress(OSError):  # as above
            for directory in host.archives:
                if _sum_of(directory).is_over(cap_bytes, cap_s, now) and is_ours(host):
                    is_appended_to = own is not None and host not in {own, home.gone_hosts}
                    _shorten(host, Path(directory), cap_bytes, cap_s, now, keeps_last=is_appended_to)


def _shorten(
    host: HostPaths, directory: Path, cap_bytes: float, cap_s: float, now: float, *, keeps_last: bool
) -> None:
    """Delete the oldest files of an archive that exceeds a cap, or the oldest lines of its last file.

    The last file stays whole with ``keeps_last``, because another machine may append to it.
    """
    kept = functools.partial(_days if directory == host.sent else _items, host, directory)
    for item in _over(kept, cap_bytes, cap_s, now):
        is_last_day = directory == host.sent and item == max(kept()) and now - item.modified <= cap_s
        if is_last_day and keeps_last:
            continue
        for path in (Path(item.path), archive.receipts_of(Path(item.path))):
            with contextlib.suppress(FileNotFoundError):
                if is_last_day:
                    _keep_newest_lines(path, cap_bytes / 2)
                else:
                    os.unlink(path)


def _is_any(_name: str) -> bool:
    return True


def _added(sums: Iterable[_Sum]) -> _Sum:
    return functools.reduce(lambda one, other: _Sum(one[0] + other[0], min(one[1], other[1])), sums, _NOTHING)


def _sum_of(directory: str, is_counted: Callable[[str], bool] = _is_any) -> _Sum:
    """The sum of the files in a directory; nothing if it is missing.

    Raises:
        OSError: the directory cannot be read.
    """
    size_bytes, oldest = 0, math.inf
    for _, status in _entries(directory, is_counted):
        size_bytes += status.st_size
        oldest = min(oldest, status.st_mtime)
    return _Sum(size_bytes, oldest)


def _entries(
    directory: str | Path, is_counted: Callable[[str], bool]
) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """The counted files of a directory, unordered. The attributes of other files are not read."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            if is_counted(entry.name):
                with contextlib.suppress(OSError):
                    yield entry, entry.stat(follow_symlinks=False)


def _unsent_sum(host: HostPaths, sums: BatchSums) -> _Sum:
    """The sum of what ``_unsent`` gives."""
    spool, _, outbox = host.unsent
    batches = [sums.of(f"{outbox}/{name}") for name in entry_names(outbox)]
    return _added([_whole_sum(host), _sum_of(spool, _is_sealed_otherwise), *batches])


def _whole_sum(host: HostPaths) -> _Sum:
    """The sum of the whole segments by their names and the time of the oldest one.

    There may be ten thousands, and on a shared home the attributes of each are a request to the server.
    """
    names = segments.whole_segments(host)
    oldest = presence.modification_times(*(host.spool / name for name in names[:1]))
    return _Sum(len(names) * LEAST_BYTES, min(oldest, default=math.inf))


def _is_sealed_otherwise(name: str) -> bool:
    return segments.is_sealed(name) and not is_whole(name)


def _is_unsent_body(name: str) -> bool:
    return name.endswith((BODY_SUFFIX, SPLIT_SUFFIX))


def _keep_newest_lines(path: Path, keep_bytes: float) -> None:
    """Delete the oldest lines of an archive that exceeds the cap alone."""
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - int(keep_bytes), 0))
        if file.tell():
            file.readline()  # the rest of a line
        kept = iter(functools.partial(file.read, segments.CHUNK_BYTES), b"")
        files.replace_by(path, kept, before=file.close)


def _items(host: HostPaths, directory: Path, is_counted: Callable[[str], bool] = _is_any) -> Iterator[_Item]:
    """The counted files in a directory, unordered."""
    for entry, status in _entries(directory, is_counted):
        size_bytes = segments.counted_bytes(entry.name, status.st_size)
        yield _Item(status.st_mtime, entry.path, size_bytes, host)


def _days(host: HostPaths, directory: Path) -> Iterator[_Item]:
    """As ``_items``, for ``sent/``: the receipts of a day are one item with its bodies."""
    found = {item.path: item for item in _items(host, directory)}
    for path in sorted(found, key=lambda path: not path.endswith(archive.RECEIPTS_SUFFIX)):
        day = path.removesuffix(archive.RECEIPTS_SUFFIX) + archive.ARCHIVE_SUFFIX
        if path.endswith(archive.RECEIPTS_SUFFIX) and day in found:
            size_bytes = found[day].size_bytes + found.pop(path).size_bytes
            found[day] = found[day]._replace(size_bytes=size_bytes)
    yield from found.values()


def _unsent(hosts: list[HostPaths]) -> Iterator[_Item]:
    """Sealed segments and bodies. A writer drops events by itself if the open segment is too large."""
    for host in hosts:
        yield from _items(host, host.spool, segments.is_sealed)
        for directory in listing(host.outbox):
            yield from _items(host, directory, _is_unsent_body)


def _over(
    items: Callable[[], Iterator[_Item]], cap_bytes: float, cap_s: float, now: float
) -> Iterator[_Item]:
    """The items that exceed a cap, oldest first."""
    oldest_first = sorted(items())
    total = sum(item.size_bytes for item in oldest_first)
    for item in oldest_first:
        if total <= cap_bytes and now - item.modified <= cap_s:
            break
        total -= item.size_bytes
        yield item


def _drop_shared(own: HostPaths, item: _Item) -> int:
    """As ``_drop``, on a shared home; ``own`` is this host."""
    path = Path(item.path)
    try:
        path = _moved(own, path)
    except FileNotFoundError:
        return 0  # another sidecar delivered or dropped it
    except OSError as error:
        if not is_full(error):
            raise
    dropped = _drop(item._replace(path=str(path), host=own))
    remove_if_empty(path.parent)
    return dropped


def _moved(own: HostPaths, path: Path) -> Path:
    """The file, moved to where a sidecar of this host delivers it after a death."""
    if segments.is_sealed(path.name):
        directory = batch.make(own, os.urandom(8).hex(), time.time_ns(), adopted=True).path
    else:
        directory = own.outbox / path.parent.name
        files.ensure_directory(own.outbox)
        files.ensure_directory(directory)
    rename(path, directory / path.name)
    return directory / path.name


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
    if not system.SEALED_GROWS:
        if not system.may_be_taken(path):
            return 0
        with files.opened(path, os.O_RDONLY) as descriptor:
            events, _ = _events_from(descriptor, segments.start_offset(path.name))
        _count_and_unlink(host, path, events)
        return events
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
