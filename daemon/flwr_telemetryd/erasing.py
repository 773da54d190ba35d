"""Delete everything on this machine that carries one source ID; what carries another stays.

The ID is put into ``forgetting``, noted in ``forgotten``, and its own file removed first. From then on no
sidecar sends what carries it, and no process reports under it for longer than a second. So what is out of
reach here for a moment (a batch that a sidecar is making, an event that a slow process still brings) is
deleted where it would have been sent, and this room need not win any race. ``forgetting`` stays until
somebody has said that all is done (``done``), so that a death loses neither the ID nor the way back.

    spool, work  see ``sieve.py``
    outbox       bodies are unlinked, as if another sidecar had delivered them
    sent         a day's file is replaced by one without the ID
    rejected     bodies and their reasons are unlinked
    damaged      what holds the text of the ID is unlinked
    drafts       go, where no sidecar lives that may be writing them

This room must never delete, change or send what carries another ID.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flwr_telemetry import files, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths
from flwr_telemetry.waiting import mark

from . import discarding, forgotten, guard, housekeeping, outbox, purge, segments, sieve, stages
from .body import decoded
from .body import read as read_body
from .clock import Clock
from .errors import sentence
from .lock import held
from .retention import hosts, strange_hosts

WAIT_S = 5.0
"""How long a sidecar that runs has to commit a batch that it is making."""

_POLL_S = 0.05


@dataclass(slots=True)
class Erased:
    """How many events were deleted.

    Attributes:
        spool: in segments.
        outbox: in bodies that waited.
        sent: in the archive.
        rejected: in bodies that the collector refused.
    """

    spool: int = 0
    outbox: int = 0
    sent: int = 0
    rejected: int = 0


def erase(home: Home, source_id: str, clock: Clock) -> tuple[Erased, list[str]]:
    """Forget an ID: note it, remove its file, and delete all that carries it.

    Args:
        home: the home.
        source_id: the ID, as events carry it.
        clock: time.

    Returns:
        What was deleted; and what could not be, one sentence each. Doing it again goes on where this ended.

    Raises:
        TelemetryError, OSError: the ID cannot be noted; nothing is changed then.
    """
    files.ensure_directory(home.telemetry)
    files.replace_bytes(home.forgetting, source_id.encode(), durable=True)
    forgotten.add(home, source_id)
    if source.look(home.source) == source_id:
        home.source.unlink(missing_ok=True)
    erased = Erased()
    problems = dict.fromkeys(strange_hosts(home))
    known = hosts(home)
    own = home.host().name
    now = files.now(home.forgetting)

    def on_every_host(step: Callable[[HostPaths], bool]) -> bool:
        """Whether any of them says so; one that is not ours, or fails, keeps no other from it."""
        found = False
        for host in known:
            try:
                guard.check(host)
                found |= step(host)
            except (OSError, TelemetryError) as error:
                problems[sentence(error, host.root)] = None
        return found

    deadline = clock.monotonic() + WAIT_S
    while left := on_every_host(
        lambda host: _waiting(host, source_id, erased, clock, own=host.name == own, now=now)
    ):
        if clock.monotonic() >= deadline:
            break
        clock.sleep(_POLL_S)
    on_every_host(lambda host: _past(host, source_id, erased))
    if left:
        told = "what still waits is in the hands of another process; it is deleted where it would be sent"
        problems[told] = None
    return erased, list(problems)


def pending(home: Home) -> str | None:
    """The ID that a call before this one did not come to an end with; None without one."""
    found = source.look(home.forgetting)
    return None if found in {source.INVALID, source.UNAVAILABLE} else found


def done(home: Home) -> None:
    """Say that all that was deleted was told, and nothing is left to do."""
    home.forgetting.unlink(missing_ok=True)


def _waiting(host: HostPaths, source_id: str, erased: Erased, clock: Clock, *, own: bool, now: float) -> bool:
    """Delete what was not sent, as far as it is within reach; whether anything of it is left."""
    now_ns = clock.time_ns()
    purge.leftovers(host)
    with held(host, 0, create=own) as lock:
        alone = own and lock.is_sole
        if alone:
            housekeeping.remove_temporary_files(host)
        for directory in segments.listing(host.outbox):
            if alone:
                outbox.repair(host, directory, now_ns)
            else:
                discarding.discard(host, directory, now_ns, wait_s=0)
        erased.spool += sieve.sift(host, source_id, now_ns, alone=alone, now=now)
    erased.outbox += sum(_events(path, source_id) for path in stages.outbox_bodies(host))
    for directory in segments.listing(host.outbox):
        for path in segments.listing(directory):
            # The events of a burst that is being split lie beside it; they were counted with it.
            if path.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) and _events(path, source_id):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            directory.rmdir()
    return _waits(host, source_id)


def _past(host: HostPaths, source_id: str, erased: Erased) -> bool:
    """Delete what was sent, refused or damaged; nothing of it is left."""
    _archive(host, source_id, erased)
    _rejected(host, source_id, erased)
    _texts(host, source_id)
    return False


def _waits(host: HostPaths, source_id: str) -> bool:
    """Whether anything that is not sent still carries the ID."""
    committed = (path for batch in segments.listing(host.outbox) for path in segments.listing(batch))
    marked = (path for path in committed if mark(path.name) is not None)
    return any(sieve.holds(path, source_id) for path in (*stages.spool_segments(host), *marked)) or any(
        _events(path, source_id) for path in stages.outbox_bodies(host)
    )


def _archive(host: HostPaths, source_id: str, erased: Erased) -> None:
    for path in stages.archive_files(host):
        text = source_id.encode()
        if any(text in chunk for chunk in _overlapping(path, len(text))):
            erased.sent += sum(_events_in(body, source_id) for body, _ in stages.read_archive(path))
            _replace_archive(path, source_id)


def _replace_archive(path: Path, source_id: str) -> None:
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as archive:

        def others() -> Iterator[bytes]:
            while line := archive.readline(stages.MAX_LINE_BYTES):
                if not _is_of(line, source_id):
                    yield line

        status = os.fstat(archive.fileno())
        files.replace_by(path, others(), durable=True)
        if late := b"".join(others()):  # of a sidecar that had opened the file before
            files.append_bytes(path, late)
        if path.lstat().st_size == 0:
            path.unlink(missing_ok=True)
        else:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # by which a cap tells its age


def _rejected(host: HostPaths, source_id: str, erased: Erased) -> None:
    for path in stages.rejected_bodies(host):
        if events := _events(path, source_id):
            erased.rejected += events
            path.unlink(missing_ok=True)
            outbox.reason_of(path).unlink(missing_ok=True)


def _texts(host: HostPaths, source_id: str) -> None:
    """What is no body, but may name the ID: damage, and the reason of a body that is gone."""
    text = source_id.encode()
    reasons = [path for path in segments.listing(host.rejected) if not path.name.endswith(BODY_SUFFIX)]
    for path in (*segments.listing(host.damaged), *reasons):
        with contextlib.suppress(FileNotFoundError):
            if any(text in chunk for chunk in _overlapping(path, len(text))):
                path.unlink()


def _overlapping(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The bytes of a file in pieces, so that whatever is so long is whole in one of them."""
    end = b""
    for chunk in segments.chunks(path):
        yield end + chunk
        end = (end + chunk)[-size_bytes:]


def _events(path: Path, source_id: str) -> int:
    """How many events of the ID are in a body's file."""
    try:
        return _events_in(read_body(path), source_id)
    except FileNotFoundError:
        return 0


def _events_in(body: bytes, source_id: str) -> int:
    """How many events of the ID a body stands for; at least 1 if it is of the ID at all."""
    return max(stages.count_events(body), 1) if _is_of(body, source_id) else 0


def _is_of(body: bytes, source_id: str) -> bool:
    """Whether a body carries the ID; one that is torn does if the text of the ID is in it."""
    return source_id.encode() in body and forgotten.source_of(decoded(body)) in {source_id, None}
