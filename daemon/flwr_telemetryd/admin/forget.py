"""Forget a source ID: delete everything on this machine that carries it. Events of other IDs stay.

``forget_id`` first writes the ID to ``forgetting``, notes its hash in ``forgotten`` and removes ``source``.
From then on batches leave out its events (``batch.write``), and a sidecar deletes its bodies instead of
sending them. Every process reports under a new ID within a second. Events that cannot be reached now are
deleted later, for example those of a batch that a sidecar is making. So this module need not win any race.
``forgetting`` stays until ``finish``: after a death the ID is still known, and the next call continues.

    spool, work      segments that hold the ID become a batch, which leaves its events out
    outbox           bodies are unlinked, as if another sidecar had delivered them
    sent             a day's file is replaced by one without the ID
    rejected         bodies and their reasons are unlinked
    damaged          files that hold the text of the ID are unlinked
    temporary files  are unlinked if no sidecar runs that may be writing them

On a full disk neither the hash nor a batch can be written. Then everything that was not sent goes, events of
other IDs too, because the user's word outweighs them. They are counted.

This module never sends. Unless the disk is full, it never deletes or changes an event of another ID.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flwr_telemetry import files, machine, mounts, record, settings, source, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.hardware import known_facts
from flwr_telemetry.layout import BODY_SUFFIX, SPLIT_SUFFIX, Home, HostPaths
from flwr_telemetry.pending import mark

from ..clock import Clock
from ..errors import LostRaceError, UnusableHomeError, describe, is_full
from ..outbox import archive, batch, contents, discard, forgotten, purge, queue
from ..outbox.batch import Batch
from ..outbox.body import decoded, key_of
from ..outbox.body import read as read_body
from ..spool import reader, segments
from ..spool.directory import check_ownership, foreign_host_entries, known_hosts, listing, remove_if_empty
from ..spool.locks import held
from ..state import State

WAIT_S = 5.0
"""The time, in seconds, for a running sidecar to commit the batch that it is making."""

_POLL_S = 0.05


@dataclass(slots=True)
class ErasedCounts:
    """Counts of the events that were deleted."""

    spool: int = 0
    """In segments."""
    outbox: int = 0
    """In bodies that waited."""
    sent: int = 0
    """In the archive."""
    rejected: int = 0
    """In bodies that the collector refused."""
    others: int = 0
    """Unsent events of other IDs, which went because the disk is full."""

    def public(self) -> dict[str, int]:
        """The counts for JSON; ``others`` only if there are any."""
        return {name: count for name, count in asdict(self).items() if count or name != "others"}


def forget_id(home: Home, source_id: str, clock: Clock) -> tuple[ErasedCounts, list[str]]:
    """Forget an ID: note its hash, remove its file, and delete everything that carries it.

    Args:
        home: the home.
        source_id: the ID, as events carry it.
        clock: the source of time.

    Returns:
        The counts of what was deleted, and one sentence for each thing that could not be deleted. Then
        another call continues.

    Raises:
        TelemetryError, OSError: the ID cannot be noted. Nothing is changed then, except that a full disk has
            cost all unsent events.
    """
    erased = ErasedCounts()
    deletion = _Deletion(home, source_id, clock, erased)
    before = deletion.carried()
    try:
        _note(home, source_id)
    except (OSError, TelemetryError) as error:
        if not is_full(error):
            raise
        for host in known_hosts(home):
            with contextlib.suppress(OSError, TelemetryError):
                _delete_unsent(host, source_id, erased)
        _note(home, source_id)
    if source.read(home.source) == source_id:
        home.source.unlink(missing_ok=True)
    problems = deletion.run()
    if not problems:  # a sidecar that runs may have been faster: it deletes instead of sending
        erased.outbox += max(0, before - sum(asdict(erased).values()))
    return erased, problems


def _note(home: Home, source_id: str) -> None:
    files.ensure_directory(home.telemetry)
    files.replace_bytes(home.forgetting, source_id.encode(), durable=True)
    forgotten.add(home, source_id)


def _delete_unsent(host: HostPaths, source_id: str, erased: ErasedCounts) -> None:
    """Delete everything that a host has not sent, because the disk is full, and count it.

    Raises:
        OSError, TelemetryError: something cannot be read or deleted.
    """
    found: list[tuple[str, str | None, int]] = []
    for path in contents.spool_segments(host):
        with contextlib.suppress(FileNotFoundError):
            pieces = (piece for piece in contents.read_segment(path) if not isinstance(piece, reader.Damage))
            found += [("spool", forgotten.source_of(piece.event), 1) for piece in pieces]
    for path in contents.outbox_bodies(host):
        with contextlib.suppress(FileNotFoundError):
            body = read_body(path)
            found.append(("outbox", forgotten.source_of(decoded(body)), contents.count_events(body)))
    for problem in purge.unsent_of(host):
        raise UnusableHomeError(problem)
    for stage, of, count in found:
        name = stage if of == source_id else "others"
        setattr(erased, name, getattr(erased, name) + count)


def unfinished(home: Home) -> str | None:
    """The ID of an earlier call that did not finish; None without one."""
    found = source.read(home.forgetting)
    return None if found in {source.INVALID, source.UNAVAILABLE} else found


def finish(home: Home) -> None:
    """Note that everything is deleted, and that the user has seen the counts."""
    home.forgetting.unlink(missing_ok=True)


class _Deletion:
    """Deletes everything that carries one ID, host by host."""

    def __init__(self, home: Home, source_id: str, clock: Clock, erased: ErasedCounts) -> None:
        self._home = home
        self._known: list[HostPaths] = []
        self._own = machine.own_host(home)
        self._is_shared = mounts.is_shared(home.path)
        self._source_id = source_id
        self._text = source_id.encode()
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._settings = settings.load(home, None)
        self._now = 0.0
        self._erased = erased
        self._problems = dict.fromkeys(foreign_host_entries(home))

    def carried(self) -> int:
        """The number of events that carry the ID now, in every stage; of what cannot be read, none."""
        found = 0
        for host in known_hosts(self._home):
            with contextlib.suppress(OSError, TelemetryError, UnusableHomeError):
                check_ownership(host)
                for path in contents.spool_segments(host):
                    with contextlib.suppress(FileNotFoundError):
                        found += sum(map(self._is_event_of, contents.read_segment(path)))
                bodies = itertools.chain(contents.outbox_bodies(host), contents.rejected_bodies(host))
                found += sum(map(self._events, bodies))
                for path in archive.archive_files(host):
                    found += sum(self._events_in(body) for body, _ in archive.read_archive(path))
        return found

    def run(self) -> list[str]:
        """Delete, and count in ``erased``; one sentence for each thing that could not be deleted."""
        self._known, self._now = known_hosts(self._home), files.now(self._home.forgetting)
        deadline = self._clock.monotonic() + WAIT_S
        while (is_left := self._on_every_host(self._unsent_or_all)) and self._clock.monotonic() < deadline:
            self._clock.sleep(_POLL_S)
        # Meanwhile no sidecar moves the archive of a host that is gone to the common one.
        with held(self._home.gone_hosts, WAIT_S):
            # The common archive last: on a shared home, files may move there meanwhile.
            common = self._home.gone_hosts
            self._known = sorted(known_hosts(self._home), key=lambda host: host == common)
            self._on_every_host(self._past)
        if is_left:
            self._problems["another process holds events that wait; they are deleted instead of sent"] = None
        return list(self._problems)

    def _on_every_host(self, step: Callable[[HostPaths], bool]) -> bool:
        """Whether a step gave true for any host. A host that is not ours, or fails, stops no other."""
        found = False
        for host in self._known:
            try:
                check_ownership(host)
                found |= step(host)
            except (OSError, TelemetryError, UnusableHomeError) as error:
                self._problems[describe(error, host.root)] = None
        return found

    def _unsent_or_all(self, host: HostPaths) -> bool:
        """As ``_unsent``; on a disk too full for a batch, everything that was not sent is deleted."""
        try:
            return self._unsent(host)
        except (OSError, TelemetryError) as error:
            if not is_full(error):
                raise
        _delete_unsent(host, self._source_id, self._erased)
        return self._waits(host)

    def _unsent(self, host: HostPaths) -> bool:
        """Delete as much of what was not sent as can be reached; whether anything is left."""
        now_ns = self._clock.time_ns()
        is_own = host.name == self._own.name
        purge.remove_leftovers(host)
        with held(host, 0, create=is_own) as lock:
            is_exclusive = is_own and lock.is_exclusive
            if is_exclusive:
                purge.remove_temporary_files(host)
            damaged = self._make_batches(host, now_ns, is_exclusive=is_exclusive)
            for directory in listing(host.outbox):
                if is_exclusive:
                    queue.repair(host, directory, self._owner, now_ns)
                else:
                    discard.discard(host, directory, self._owner, now_ns, wait_s=0)
            if is_exclusive and damaged:
                state = State.load(host)
                state.damaged += damaged
                state.save(host)
        self._outbox(host)
        return self._waits(host)

    def _make_batches(self, host: HostPaths, now_ns: int, *, is_exclusive: bool) -> int:
        """Make batches of the segments that hold the ID; the number of runs of damage in them.

        A sidecar may run meanwhile: race 10 decides which process has a segment or a batch.
        """
        damaged = 0
        for path in batch.unfinished(host, self._owner, now=None if is_exclusive else self._now):
            if any(map(self._is_in, listing(path))):
                with contextlib.suppress(LostRaceError):
                    damaged += self._write(batch.take_over(host, path, self._owner))
        if self._is_in(host.events):
            segments.seal(host, now_ns)
        while (taken := batch.take(host, self._owner, now_ns, only=self._is_in)) is not None:
            with contextlib.suppress(LostRaceError):
                damaged += self._write(taken)
        return damaged

    def _write(self, taken: Batch) -> int:
        # The hardware facts of this machine belong to this host's own events alone.
        is_own = taken.host.name == self._own.name and not taken.is_adopted
        facts = known_facts(self._settings) if is_own else {}
        written = batch.write(taken, bursts=self._settings.limits.bursts, hardware=facts)
        batch.commit(taken)
        self._erased.spool += written.forgotten
        return written.damaged

    def _outbox(self, host: HostPaths) -> None:
        self._erased.outbox += sum(map(self._events, contents.outbox_bodies(host)))
        for directory in listing(host.outbox):
            for path in listing(directory):
                # The events of a burst that is being split lie beside it; they were counted with it.
                if path.name.endswith((BODY_SUFFIX, SPLIT_SUFFIX)) and self._events(path):
                    path.unlink(missing_ok=True)
            remove_if_empty(directory)

    def _waits(self, host: HostPaths) -> bool:
        """Whether anything that was not sent still carries the ID."""
        batches = map(listing, listing(host.outbox))
        marked = (path for path in itertools.chain(*batches) if mark(path.name) is not None)
        unread = (*contents.spool_segments(host), *marked)
        return any(map(self._is_in, unread)) or any(map(self._events, contents.outbox_bodies(host)))

    def _is_in(self, segment: Path) -> bool:
        """Whether a segment holds an event of the ID, or damage with its text in it."""
        with contextlib.suppress(FileNotFoundError):
            return any(
                self._text in piece.data if isinstance(piece, reader.Damage) else self._is_event_of(piece)
                for piece in contents.read_segment(segment)
            )
        return False

    def _is_event_of(self, piece: reader.Damage | reader.Record[record.Event]) -> bool:
        return not isinstance(piece, reader.Damage) and forgotten.source_of(piece.event) == self._source_id

    def _past(self, host: HostPaths) -> bool:
        """Delete what was sent, refused or damaged; nothing of it is left."""
        for path in archive.archive_files(host):
            if self._has_text(path):
                self._erased.sent += sum(self._events_in(body) for body, _ in archive.read_archive(path))
                with contextlib.suppress(FileNotFoundError):
                    self._delete_receipts(path)
                self._replace_archive(path, self._is_of)
        for path in contents.rejected_bodies(host):
            if events := self._events(path):
                self._erased.rejected += events
                path.unlink(missing_ok=True)
                queue.reason_of(path).unlink(missing_ok=True)
        # A reason whose body is gone may quote the body.
        reasons = [path for path in listing(host.rejected) if not path.name.endswith(BODY_SUFFIX)]
        for path in (*listing(host.damaged), *reasons):
            with contextlib.suppress(FileNotFoundError):
                if self._has_text(path):
                    path.unlink()
        return False

    def _delete_receipts(self, day: Path) -> None:
        """Before the bodies, because these tell after a death whose receipts are left."""
        gone = {key_of(body) for body, _ in archive.read_archive(day) if self._is_of(body)}

        def is_of_them(line: bytes) -> bool:
            found = archive.parsed(line)
            return found is not None and found[0] in gone

        self._replace_archive(archive.receipts_of(day), is_of_them)

    def _replace_archive(self, path: Path, is_gone: Callable[[bytes], bool]) -> None:
        with os.fdopen(files.open_file(path, os.O_RDONLY), "rb") as file:

            def others() -> Iterator[bytes]:
                while line := file.readline(archive.MAX_LINE_BYTES):
                    if not is_gone(line):
                        yield line

            status = os.fstat(file.fileno())
            try:
                # On Windows, a sidecar that has the file open keeps it from being replaced.
                close = file.close if system.WINDOWS else file.readable
                files.replace_by(path, others(), durable=True, before=close)
            except OSError as error:
                if not is_full(error):
                    raise
                file.seek(0)
                if next(others(), None) is not None:
                    raise
                path.unlink(missing_ok=True)
            late = b"" if file.closed else b"".join(others())
            if late:  # of a sidecar that had opened the file before
                # No file of a shared home is appended to by two machines.
                extra = f"{path.stem}.{secrets.token_hex(4)}{path.suffix}"
                files.append_bytes(path.with_name(extra) if self._is_shared else path, late)
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_size == 0:
                    path.unlink()
                else:
                    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # the caps go by its age

    def _has_text(self, path: Path) -> bool:
        """Whether the text of the ID is in a file."""
        end = b""
        for chunk in segments.chunks(path):
            if self._text in end + chunk:
                return True
            end = (end + chunk)[-len(self._text) :]
        return False

    def _events(self, path: Path) -> int:
        """The number of events of the ID in a body's file."""
        with contextlib.suppress(FileNotFoundError):
            return self._events_in(read_body(path))
        return 0

    def _events_in(self, body: bytes) -> int:
        """The number of events of the ID in a body; at least 1 if the body is of the ID at all."""
        return max(contents.count_events(body), 1) if self._is_of(body) else 0

    def _is_of(self, body: bytes) -> bool:
        """Whether a body carries the ID. A torn body does if the text of the ID is in it."""
        return self._text in body and forgotten.source_of(decoded(body)) in {self._source_id, None}
