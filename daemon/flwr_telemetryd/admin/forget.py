"""Forget a source ID: delete everything on this machine that carries it. Events of other IDs stay.

``erase`` first writes the ID to ``forgetting``, notes its hash in ``forgotten`` and removes ``source``. From
then on batches leave out its events (``batch.write``), a sidecar deletes its bodies instead of sending them,
and every process reports under a new ID within a second. So a thing that is out of reach now, such as a batch
that a sidecar is making, is deleted later, and this module need not win any race. ``forgetting`` stays until
``done``: after a death the ID is still known, and the next call goes on.

    spool, work  segments that hold the ID become a batch, which leaves its events out
    outbox       bodies are unlinked, as if another sidecar had delivered them
    sent         a day's file is replaced by one without the ID
    rejected     bodies and their reasons are unlinked
    damaged      files that hold the text of the ID are unlinked
    drafts       are unlinked where no sidecar lives that may be writing them

The request to delete what Flower has received is only shown. The user sends it, or nobody does.

This module must never send, and never delete or change an event of another ID.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from flwr_telemetry import files, record, settings, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths
from flwr_telemetry.pending import mark

from .. import hardware
from ..clock import Clock
from ..errors import LostRaceError, describe
from ..outbox import archive, batch, contents, discard, forgotten, purge, queue
from ..outbox.batch import Batch
from ..outbox.body import decoded
from ..outbox.body import read as read_body
from ..spool import reader, segments
from ..spool.directory import check_ownership, foreign_host_entries, known_hosts, listing
from ..spool.locks import held
from ..state import State

WAIT_S = 5.0
"""How long a running sidecar has to commit a batch that it is making."""

ADDRESS = "telemetry@flower.dev"
"""Deletion requests go there, as Flower's page on telemetry says."""

_POLL_S = 0.05


@dataclass(slots=True)
class ErasedCounts:
    """How many events were deleted."""

    spool: int = 0
    """In segments."""
    outbox: int = 0
    """In bodies that waited."""
    sent: int = 0
    """In the archive."""
    rejected: int = 0
    """In bodies that the collector refused."""


@dataclass(frozen=True, slots=True)
class Request:
    """A mail that asks for deletion."""

    to: str
    """The address."""
    subject: str
    """One line."""
    body: str
    """The text."""
    mailto: str
    """The whole mail as a URL, which opens in a mail program."""


def request_for(source_id: str) -> Request:
    """The request to delete what was reported under a source ID."""
    subject = f"Deletion request for source ID {source_id}"
    body = (
        "Hello,\n\nplease delete all events that were logged under this source ID of Flower's "
        f"telemetry:\n\n{source_id}\n\nThank you."
    )
    # RFC 6068: line breaks are CRLF, and everything but unreserved characters is percent-encoded.
    mailto = (
        f"mailto:{ADDRESS}?subject={quote(subject)}&body={quote(body.replace(chr(10), chr(13) + chr(10)))}"
    )
    return Request(ADDRESS, subject, body, mailto)


def erase(home: Home, source_id: str, clock: Clock) -> tuple[ErasedCounts, list[str]]:
    """Forget an ID: note it, remove its file, and delete everything that carries it.

    Args:
        home: the home.
        source_id: the ID, as events carry it.
        clock: time.

    Returns:
        The counts of what was deleted; and one sentence for each thing that could not be. Another call goes
        on where this one ended.

    Raises:
        TelemetryError, OSError: the ID cannot be noted; nothing is changed then.
    """
    files.ensure_directory(home.telemetry)
    files.replace_bytes(home.forgetting, source_id.encode(), durable=True)
    forgotten.add(home, source_id)
    if source.read(home.source) == source_id:
        home.source.unlink(missing_ok=True)
    erased = ErasedCounts()
    problems = dict.fromkeys(foreign_host_entries(home))
    known = known_hosts(home)
    unsent = _Unsent(home, source_id, erased, clock)

    def on_every_host(step: Callable[[HostPaths], bool]) -> bool:
        """Whether the step says so of any host. A host that is not ours, or fails, stops no other."""
        found = False
        for host in known:
            try:
                check_ownership(host)
                found |= step(host)
            except (OSError, TelemetryError) as error:
                problems[describe(error, host.root)] = None
        return found

    deadline = clock.monotonic() + WAIT_S
    while left := on_every_host(unsent.erase):
        if clock.monotonic() >= deadline:
            break
        clock.sleep(_POLL_S)
    on_every_host(lambda host: _past(host, source_id, erased))
    if left:
        told = "what still waits is in the hands of another process; it is deleted where it would be sent"
        problems[told] = None
    return erased, list(problems)


def pending(home: Home) -> str | None:
    """The ID of an earlier call that did not finish; None without one."""
    found = source.read(home.forgetting)
    return None if found in {source.INVALID, source.UNAVAILABLE} else found


def done(home: Home) -> None:
    """Note that nothing is left to delete, and that the user was told the counts."""
    home.forgetting.unlink(missing_ok=True)


class _Unsent:
    """Deletes what was not sent, host by host."""

    def __init__(self, home: Home, source_id: str, erased: ErasedCounts, clock: Clock) -> None:
        self._own = home.host()
        self._source_id = source_id
        self._erased = erased
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._bursts = settings.load(home, None).limits.bursts
        self._now = files.now(home.forgetting)

    def erase(self, host: HostPaths) -> bool:
        """Delete as much as is within reach; whether anything is left."""
        now_ns = self._clock.time_ns()
        is_own = host.name == self._own.name
        purge.remove_leftovers(host)
        with held(host, 0, create=is_own) as lock:
            is_sole = is_own and lock.is_exclusive
            if is_sole:
                purge.remove_temporary_files(host)
            damaged = self._coalesce(host, now_ns, is_sole=is_sole)
            for directory in listing(host.outbox):
                if is_sole:
                    queue.repair(host, directory, now_ns)
                else:
                    discard.discard(host, directory, now_ns, wait_s=0)
            if is_sole and damaged:
                state = State.load(host)
                state.damaged += damaged
                state.save(host)
        self._erase_bodies(host)
        return self._waits(host)

    def _coalesce(self, host: HostPaths, now_ns: int, *, is_sole: bool) -> int:
        """Make batches of the segments that hold the ID; how many runs of damage they had.

        A sidecar may run meanwhile: race 10 decides who has a segment or a batch.
        """
        damaged = 0
        for path in batch.unfinished(host, self._owner, now=None if is_sole else self._now):
            if any(map(self._is_in, listing(path))):
                with contextlib.suppress(LostRaceError):
                    damaged += self._make(batch.take_over(host, path, self._owner))
        if self._is_in(host.events):
            segments.seal(host, now_ns)
        while (taken := batch.take(host, self._owner, now_ns, only=self._is_in)) is not None:
            with contextlib.suppress(LostRaceError):
                damaged += self._make(taken)
        return damaged

    def _make(self, made: Batch) -> int:
        # The figures of this machine are those of this host's own events alone.
        is_own = made.host.name == self._own.name and not made.is_adopted
        written = batch.write(made, bursts=self._bursts, hardware=hardware.hardware_facts() if is_own else {})
        batch.commit(made)
        self._erased.spool += written.forgotten
        return written.damaged

    def _erase_bodies(self, host: HostPaths) -> None:
        self._erased.outbox += sum(_events(path, self._source_id) for path in contents.outbox_bodies(host))
        for directory in listing(host.outbox):
            for path in listing(directory):
                # The events of a burst that is being split lie beside it; they were counted with it.
                if path.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) and _events(path, self._source_id):
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()

    def _waits(self, host: HostPaths) -> bool:
        """Whether anything that is not sent still carries the ID."""
        batches = map(listing, listing(host.outbox))
        marked = (path for path in itertools.chain(*batches) if mark(path.name) is not None)
        return any(map(self._is_in, (*contents.spool_segments(host), *marked))) or any(
            _events(path, self._source_id) for path in contents.outbox_bodies(host)
        )

    def _is_in(self, path: Path) -> bool:
        """Whether a segment, in any directory, holds an event of the ID, or damage with its text in it."""
        try:
            return any(map(self._is_of, contents.read_segment(path)))
        except FileNotFoundError:
            return False

    def _is_of(self, piece: reader.Record[record.Event] | reader.Damage) -> bool:
        if isinstance(piece, reader.Record):
            return forgotten.source_of(piece.event) == self._source_id
        return self._source_id.encode() in piece.data


def _past(host: HostPaths, source_id: str, erased: ErasedCounts) -> bool:
    """Delete what was sent, refused or damaged; nothing of it is left."""
    _archive(host, source_id, erased)
    _rejected(host, source_id, erased)
    _texts(host, source_id)
    return False


def _archive(host: HostPaths, source_id: str, erased: ErasedCounts) -> None:
    for path in archive.archive_files(host):
        text = source_id.encode()
        if any(text in chunk for chunk in _overlapping(path, len(text))):
            erased.sent += sum(_events_in(body, source_id) for body, _ in archive.read_archive(path))
            _replace_archive(path, source_id)


def _replace_archive(path: Path, source_id: str) -> None:
    with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:

        def others() -> Iterator[bytes]:
            while line := file.readline(archive.MAX_LINE_BYTES):
                if not _is_of(line, source_id):
                    yield line

        status = os.fstat(file.fileno())
        files.replace_by(path, others(), durable=True)
        if late := b"".join(others()):  # of a sidecar that had opened the file before
            files.append_bytes(path, late)
        if path.lstat().st_size == 0:
            path.unlink(missing_ok=True)
        else:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # by which a cap tells its age


def _rejected(host: HostPaths, source_id: str, erased: ErasedCounts) -> None:
    for path in contents.rejected_bodies(host):
        if events := _events(path, source_id):
            erased.rejected += events
            path.unlink(missing_ok=True)
            queue.reason_of(path).unlink(missing_ok=True)


def _texts(host: HostPaths, source_id: str) -> None:
    """Delete other files with the text of the ID: damage, and the reason of a body that is gone."""
    text = source_id.encode()
    reasons = [path for path in listing(host.rejected) if not path.name.endswith(BODY_SUFFIX)]
    for path in (*listing(host.damaged), *reasons):
        with contextlib.suppress(FileNotFoundError):
            if any(text in chunk for chunk in _overlapping(path, len(text))):
                path.unlink()


def _overlapping(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The bytes of a file in pieces that overlap, so that a text of this size is whole in one of them."""
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
    return max(contents.count_events(body), 1) if _is_of(body, source_id) else 0


def _is_of(body: bytes, source_id: str) -> bool:
    """Whether a body carries the ID. A torn body does if the text of the ID is in it."""
    return source_id.encode() in body and forgotten.source_of(decoded(body)) in {source_id, None}
