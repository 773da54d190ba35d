"""The batcher: finishes unfinished batches, seals this host's segment, and turns segments into bodies.

Batches are built on this host even for adopted events. So all coalesce together, and recovery searches one
place. Each step has its own local fault, so a failing batch stops neither the other batches nor the delivery
of committed bodies. This module never sends.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from flwr_telemetry import context, files, machine, system
from flwr_telemetry.hardware import known_facts
from flwr_telemetry.layout import HostPaths, is_whole
from flwr_telemetry.named import Any
from flwr_telemetry.spool.whole import LEAST_BYTES

from ..clock import Clock
from ..outbox import batch, discard
from ..runtime import Mode, Runtime
from ..spool import quarantine, reader, segments
from ..spool.directory import listing, turn_at
from .schedule import age_of_oldest_s, seal_is_due

MAX_UNFINISHED = 8

MAX_BATCHES = 4
"""The most batches that are made before the next delivery, of this host's events and of others'."""

SETTLE_S = 0.2
"""On a shared home, a sealed segment that was not written whole is taken so long after its last change."""

log = logging.getLogger("flwr_telemetryd")


class Batcher:
    """Makes the batches of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._host = runtime.host
        self._owner = runtime.owner
        self._known_for: object = None
        self._open = OpenSegment(runtime.host, runtime.clock)
        self._whole = WholeSegments(runtime.host, runtime.clock)
        self.made = 0
        """Batches committed."""
        self.sealed = 0
        """Segments sealed."""

    def resume(self, host: HostPaths, now: float | None) -> None:
        """Finish the batches that a host left unfinished; see ``batch.unfinished`` for ``now``."""
        for path in batch.unfinished(host, self._owner, now=now):
            if not self._runtime.checkpoint():
                return
            name = f"batch {path.name.partition('.')[0]}"
            self._runtime.faults.run(name, self._resume_one, None, path)

    def run(self, *, may_batch: bool, immediately: bool) -> None:
        """Seal this host's segment if it is due, and make batches of its sealed segments.

        Args:
            may_batch: whether new batches may be made now.
            immediately: whether to seal before the burst window is over.
        """
        self._runtime.faults.run("seal", self._seal_if_due, None, may_batch, immediately)
        if may_batch:
            size_bytes = self._whole.read_size()
            is_due = self._is_due(self._whole, size_bytes, may_batch=True, immediately=immediately)
            self._take_all((), lambda segment: self._may_take(segment, whole=is_due))
            if is_due:
                self._whole.forget()

    def window_s(self) -> float:
        """The seconds that are left of this host's burst window; 0 if no event is known to wait for it."""
        age_s = min(self._open.age_s(), self._whole.age_s())
        return max(self._runtime.limits.burst_window_s - age_s, 0.0)

    def adopt(self, hosts: Sequence[HostPaths], quiet: Collection[str]) -> None:
        """Seal the segments of other hosts, and make batches of all of them together.

        Args:
            hosts: the hosts that are due.
            quiet: the names of those whose other segments are taken, too; of the others only whole ones are.
        """
        for host in hosts:
            if host.name in quiet and self._runtime.checkpoint():
                self._runtime.faults.run(f"seal {host.name}", self._seal, None, host)
        self._take_all(hosts, lambda segment: self._may_take(segment, others=_host_of(segment) in quiet))

    def _take_all(self, adopted: Sequence[HostPaths], only: Callable[[Path], bool]) -> None:
        # Two limits, because bodies must leave while new whole segments come, and unfinished batches must not
        # pile up. One bad batch does not stop the others.
        name = "adopt" if adopted else "take"
        for _ in range(MAX_BATCHES):
            if not self._runtime.checkpoint() or self._unfinished() >= MAX_UNFINISHED:
                return
            if not self._runtime.faults.run(name, self._take, False, adopted, only):
                return

    def _may_take(self, segment: Path, *, whole: bool = True, others: bool = True) -> bool:
        """Whether a sealed segment is taken now; ``whole`` and ``others`` tell which kinds are due.

        On a shared home, a writer that has the segment open is not held off by a lock. It may have passed its
        last check before the rename, so the segment is taken only after a while without a change.
        """
        if is_whole(segment.name):
            return whole
        return others and (not self._runtime.is_shared or self._has_settled(segment))

    def _has_settled(self, segment: Path) -> bool:
        is_new = self._is_new(segment)
        if is_new and self._runtime.mode is Mode.ONCE:  # it makes no later pass for another host
            self._runtime.clock.sleep(2 * SETTLE_S)  # the times of files are not exact
            is_new = self._is_new(segment)
        return not is_new

    def _is_new(self, segment: Path) -> bool:
        try:
            with files.opened(segment, os.O_RDONLY) as descriptor:  # asks the server, unlike `stat`
                status = os.fstat(descriptor)
        except FileNotFoundError:
            return True
        except quarantine.NOT_OURS_ERRORS:
            return False
        changed_at = max(status.st_mtime, status.st_ctime)  # a rename changes the latter
        return files.age_s(self._runtime.file_system_now(), changed_at) < SETTLE_S

    def _unfinished(self) -> int:
        """How many batches of this run could not be finished."""
        return sum(path.name.endswith(f".{self._owner}") for path in listing(self._host.work))

    def _seal_if_due(self, may_batch: bool, immediately: bool) -> None:
        if self._is_due(self._open, self._open.read_size(), may_batch=may_batch, immediately=immediately):
            self._seal(self._host)
            self._open.forget()

    def _is_due(self, window: BurstWindow, size_bytes: int, *, may_batch: bool, immediately: bool) -> bool:
        window_s = self._runtime.limits.burst_window_s
        return seal_is_due(size_bytes, window.age_s(), window_s, may_batch=may_batch, immediately=immediately)

    def _seal(self, host: HostPaths) -> None:
        self.sealed += segments.seal(host, self._runtime.clock.time_ns()) is not None

    def _take(self, adopted: Sequence[HostPaths], only: Callable[[Path], bool]) -> bool:
        taken = batch.take(self._host, self._owner, self._runtime.clock.time_ns(), adopted, only=only)
        if taken is not None:
            self._make(taken)
        return taken is not None

    def _resume_one(self, path: Path) -> None:
        self._make(batch.take_over(self._host, path, self._owner))

    def _make(self, made: batch.Batch) -> None:
        hardware, bursts = {} if made.is_adopted else self._hardware(), self._runtime.limits.bursts
        written = batch.write(made, bursts=bursts, hardware=hardware, checkpoint=self._runtime.checkpoint)
        committed = batch.commit(made)
        self.made += 1
        self._runtime.state.damaged += written.damaged
        log.info("batch %s: bodies %d, damaged %d", made.name, written.bodies, written.damaged)
        if written.forgotten:
            log.info(
                "batch %s: events of a forgotten source ID that were left out: %d",
                made.name,
                written.forgotten,
            )
        discard.discard(made.host, committed, self._owner, self._runtime.clock.time_ns())

    def _hardware(self) -> dict[str, Any]:
        """The facts to add to this host's events; measured once a boot, because psutil loads slowly."""
        settings, state = self._runtime.settings(), self._runtime.state
        if settings.hardware is not self._known_for:
            boot, self._known_for = machine.boot(), settings.hardware
            if not (settings.hardware and state.hardware and boot and state.measured_in == boot):
                state.hardware, state.measured_in = {**known_facts(settings)}, boot
        untold = context.untold(self._runtime.home.noticed)  # nothing is sent that a person was not told of
        return {name: fact for name, fact in state.hardware.items() if f"context.hw.{name}" not in untold}


def _host_of(segment: Path) -> str:
    return segment.parent.parent.name


class BurstWindow:
    """The oldest segment with events of a host that wait for the end of the burst window, and its age."""

    def __init__(self, host: HostPaths, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._oldest: object = None
        """Identifies the segment; None without one."""
        self._date_us: int | None = None
        """The date of the first record, in microseconds since the epoch; None if it is not known."""
        # Monotonic seconds: the last reading, the first one that found this segment, and the one before that.
        self._read_at = self._seen_at = self._unseen_at = -math.inf

    def _note(self, oldest: object) -> None:
        now = self._clock.monotonic()
        if oldest != self._oldest:
            self._oldest, self._date_us = oldest, None
            self._unseen_at, self._seen_at = self._read_at, now
        self._read_at = now

    def age_s(self) -> float:
        """The age of the oldest event in seconds, as ``age_of_oldest_s``; infinite without a segment."""
        if self._oldest is None:
            return math.inf
        now, now_us = self._clock.monotonic(), self._clock.time_ns() // 1000
        by_date_s = math.inf if self._date_us is None else (now_us - self._date_us) / 1e6
        return age_of_oldest_s(by_date_s, seen_s=now - self._seen_at, unseen_s=now - self._unseen_at)

    def forget(self) -> None:
        """Note that the segment was sealed or taken: the next one begins later than now."""
        self._oldest, self._read_at = None, self._clock.monotonic()


class OpenSegment(BurstWindow):
    """The open segment of a host."""

    def read_size(self) -> int:
        """Read what has changed; the size in bytes, 0 without a segment."""
        with turn_at(self._host):
            inode, size_bytes = _inode_and_size(self._host)
            self._note(inode)
            if inode and self._date_us is None:
                self._date_us = _first_date_us(self._host)
        return size_bytes


class WholeSegments(BurstWindow):
    """The whole segments of a host, which wait together."""

    def read_size(self) -> int:
        """Read what has changed; the size for which they count, in bytes."""
        names = segments.whole_segments(self._host)
        self._note(names[0] if names else None)
        if names:
            self._date_us = segments.written_at_ns(names[0]) // 1000
        return len(names) * LEAST_BYTES


def _inode_and_size(host: HostPaths) -> tuple[int | None, int]:
    """The inode and the size of a host's open segment; None and 0 if it is missing or empty."""
    try:
        status = os.lstat(host.events)
    except FileNotFoundError:
        return None, 0
    return (status.st_ino, status.st_size) if status.st_size else (None, 0)


def _first_date_us(host: HostPaths) -> int | None:
    """The date of the first record in the open segment; None if there is only damage at its beginning."""
    try:
        with files.estale_as_missing(), files.opened(host.events, os.O_RDONLY) as descriptor:
            beginning = system.pread(descriptor, segments.CHUNK_BYTES, 0)
    except FileNotFoundError:
        return None  # another sidecar has sealed it
    for piece in reader.read([beginning]):
        if isinstance(piece, reader.Record):
            date_us: int = piece.event["context"]["date"]
            return date_us
    return None
