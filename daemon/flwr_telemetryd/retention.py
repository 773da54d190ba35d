"""Caps: what was not sent, and the record of what was, by size and by age; the oldest goes first.

Everything that a cap takes from what was not sent is counted, one byte in ``dropped`` for every event.
Ages are differences between times of the file system; a negative one is no age.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import files, record
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths
from flwr_telemetry.settings_file import Limits

from . import burst, damage, guard, outbox, segments

_MIB = 1024 * 1024
_DAY_S = 86_400.0
_NOT_HOST = "."


def hosts(home: Home) -> list[HostPaths]:
    """Every host that has a directory in this home."""
    return [
        home.host(path.name)
        for path in sorted(segments.listing(home.telemetry))
        if not path.name.startswith(_NOT_HOST) and path.is_dir() and not path.is_symlink()
    ]


@dataclass(frozen=True, slots=True, order=True)
class _Item:
    modified: float
    path: Path
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
    known = [host for host in hosts(home) if guard.holds(host)]
    waiting = sorted(item for host in known for item in _unsent(host))
    dropped = 0
    for item in _over(waiting, limits.spool_max_mib * _MIB, limits.spool_max_days * _DAY_S, now):
        dropped += _drop(item)
    for host in known:
        for directory in (host.sent, host.rejected, host.damaged):
            kept = sorted(_Item(*_facts(path), host) for path in segments.listing(directory))
            cap_bytes = limits.sent_max_mib * _MIB
            cap_s = limits.sent_max_days * _DAY_S
            for item in _over(kept, cap_bytes, cap_s, now):
                with contextlib.suppress(FileNotFoundError):
                    if directory == host.sent and item is kept[-1] and now - item.modified <= cap_s:
                        _keep_newest_lines(item.path, cap_bytes / 2)
                    else:
                        item.path.unlink()
    return dropped


def _keep_newest_lines(path: Path, keep_bytes: float) -> None:
    """Shorten the archive of a day that is over the cap by itself: its oldest lines go."""
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as archive:
        archive.seek(max(os.fstat(archive.fileno()).st_size - int(keep_bytes), 0))
        if archive.tell():
            archive.readline()  # the rest of a line
        kept = archive.read()
    files.replace_bytes(path, kept)


def _facts(path: Path) -> tuple[float, Path, int]:
    try:
        status = path.lstat()
    except OSError:
        return 0.0, path, 0
    return status.st_mtime, path, status.st_size


def _unsent(host: HostPaths) -> Iterator[_Item]:
    """Sealed segments and bodies; the open segment is its writers' affair."""
    for path in segments.sealed_segments(host):
        yield _Item(*_facts(path), host)
    for directory in segments.listing(host.outbox):
        for path in segments.listing(directory):
            if path.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)):
                yield _Item(*_facts(path), host)


def _over(items: list[_Item], cap_bytes: float, cap_s: float, now: float) -> Iterator[_Item]:
    """What is over one of the caps, oldest first."""
    total = sum(item.size_bytes for item in items)
    for item in items:
        if total <= cap_bytes and now - item.modified <= cap_s:
            break
        total -= item.size_bytes
        yield item


def _drop(item: _Item) -> int:
    """Count, then delete, what a cap takes; the number of its events."""
    try:
        if segments.is_sealed(item.path.name):
            pieces = record.read(segments.chunks(item.path, segments.start_offset(item.path.name)))
            events = sum(isinstance(piece, record.Record) for piece in pieces)
        else:
            body = outbox.decoded(b"".join(segments.chunks(item.path)))
            events = max(burst.count(body), 1)  # a damaged one held something, too
        try:
            # Counted first: a death in between must not hide a loss.
            files.append_bytes(item.host.dropped, b"\0" * events)
        except OSError:
            item.path.unlink()  # a full disk must not keep a cap from making room
            files.append_bytes(item.host.dropped, b"\0" * events)
            return events
        item.path.unlink()
    except FileNotFoundError:
        return 0  # delivered at last
    except TelemetryError:
        damage.set_aside(item.host, item.path)  # no file of ours
        return 0
    return events
