"""Deliver a file that sidecars without a network have delivered into (``url = "file:///…"``).

    FILE ──a line──▶ collector ──accepted──▶ sent/<date>.jsonl
                                └─refused──▶ rejected/<key>.json, <key>.reason.txt
    FILE.relayed ◀── the offset, after each body

Each line is sent byte for byte through the sink that the uploader uses; its key is the SHA-256 of the line.
A refused burst is sent event by event, under the keys that ``outbox/split.py`` gives them. Consent is checked
before each request. After an opt-out only the body that was just accepted is recorded.

A relay that dies sends at most one body again, under the same key: the one whose offset was not saved.

This module never changes FILE and never touches the outbox.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from flwr_telemetry import files, machine, settings, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.record import Event
from flwr_telemetry.settings import Settings
from flwr_telemetry.settings_file import Limits

from ...burst import codec
from ...clock import Clock
from ...delivery import is_file, open_sink, retry_after
from ...delivery.backoff import RetryPolicy
from ...delivery.outcome import Delivered, PartSent, Refused, Retry, Sink
from ...errors import FileSinkError, NoSuchFileError
from ...outbox import archive, forgotten, pieces, purge, queue, retention
from ...outbox.body import key_of
from ...outbox.split import member_key
from ...spool.directory import check_ownership
from ...spool.locks import held
from ...state import State
from ..flush import Outcome, retry_after_reason
from . import offset
from .line import body_of
from .offset import OffsetFile, Place

Answer = Delivered | Refused
"""The collector's decision about a body."""

LONGEST_PAUSE_S = 8.0
"""The longest backoff, because a person may be waiting. A ``Retry-After`` may be longer."""

RECENT_KEYS = 500
"""A sidecar that dies after its append writes the line again. So many lines are compared."""

SKIPPED_BYTES = 1024 * 1024
"""After so many bytes of invalid lines the offset is saved."""

CAPS_EVERY_BYTES = 4 * 1024 * 1024
"""The caps of the home are enforced whenever so much was archived, and at the end."""


@dataclass(slots=True)
class RelayResult:
    """The result of a relay."""

    outcome: Outcome = Outcome.DELIVERED
    """``DELIVERED`` if every body in the file is delivered or rejected."""

    reason: str = ""
    """Why telemetry is off, or why something is left; empty otherwise."""

    bodies: int = 0
    """Bodies that were delivered or rejected now."""

    events: int = 0
    """Events that were delivered or rejected now."""

    rejected: int = 0
    """Events among them that the collector refused."""

    forgotten: int = 0
    """Bodies that were not sent because their source ID was forgotten in this home."""

    damaged: int = 0
    """Lines that are no bodies and were skipped now."""

    rest_bytes: int = 0
    """Bytes that are left in the file; with ``DELIVERED``, a last line without an end."""

    from_start: bool = False
    """Whether another file was relayed under this name before."""


class _StopError(Exception):
    """The relay ends before the end of the file. Its arguments are the outcome and the reason."""


class _ForgottenError(Exception):
    """The source ID of a body was forgotten, so it is not sent."""


def relay_file(
    home: Home,
    environ: Mapping[str, str],
    path: Path,
    *,
    timeout_s: float,
    on_damage: Callable[[int], None] = lambda _line: None,
    on_progress: Callable[[float, int], None] = lambda _done, _all: None,
    clock: Clock | None = None,
) -> RelayResult:
    """Deliver the lines of a file that were not delivered before.

    Args:
        home: its settings name the collector, and its ``sent/`` and ``rejected/`` keep the bodies.
        environ: this process's variables, for consent.
        path: the file.
        timeout_s: the longest time without an answer about a body, in seconds.
        on_damage: receives the number of each line that is no body.
        on_progress: receives the number of bytes that are done, and that of all.
        clock: the source of time and of random numbers.

    Raises:
        NoSuchFileError: the file is missing or cannot be read.
        FileSinkError: the home itself delivers into a file.
        AnotherRelayError: another relay has the file.
        UnusableHomeError, TelemetryError, OSError: the offset cannot be saved, or the home cannot be used.
    """
    try:
        chosen = _enabled(home, environ)
    except _StopError as stop:
        return RelayResult(*stop.args)
    path = path.resolve()  # so that all names of a file share one offset
    with _opened(path) as file, offset.held(path, file.fileno()) as offset_file:
        clock = clock or Clock()
        relay = _Relay(home, environ, chosen, offset_file, timeout_s, on_damage, on_progress, clock)
        return relay.run(file)


def _enabled(home: Home, environ: Mapping[str, str]) -> Settings:
    """The settings as they are now.

    Raises:
        _StopError: telemetry is off, or nothing may be sent.
        FileSinkError: the home delivers into a file.
    """
    chosen = settings.load(home, environ)
    if not chosen.consent.enabled:
        raise _StopError(Outcome.DISABLED, chosen.consent.reason)
    if chosen.kept_by:
        raise _StopError(Outcome.KEPT, chosen.kept_by)
    if is_file(chosen.url):
        raise FileSinkError(
            f"{home.path} delivers into a file itself (url = {chosen.url}); "
            "use --home or FLWR_HOME to choose a home that delivers to a collector"
        )
    return chosen


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file of any owner, open for reading; raises NoSuchFileError if it is none."""
    try:
        descriptor = system.open_descriptor(path, os.O_RDONLY | system.OPEN_ANY)
    except OSError as error:
        raise NoSuchFileError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoSuchFileError(f"{path} is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


@dataclass
class _Relay:
    _home: Home
    _environ: Mapping[str, str]
    _settings: Settings
    _offset_file: OffsetFile
    _timeout_s: float
    _on_damage: Callable[[int], None]
    _on_progress: Callable[[float, int], None]
    _clock: Clock
    _sink: Sink | None = None
    _uncapped_bytes: int = 0

    def __post_init__(self) -> None:
        self._host = machine.own_host(self._home, lambda: True)
        self._result = RelayResult(from_start=self._offset_file.from_start)
        self._state = State()  # the counters of this relay, which are added to the host's
        self._recent: deque[str] = deque(maxlen=RECENT_KEYS)
        self._retries = RetryPolicy(self._host, self._clock, self._limits, self._state)
        self._answered_at = self._clock.monotonic()

    def run(self, file: BufferedReader) -> RelayResult:
        result, offset_file = self._result, self._offset_file
        end = archive.written_bytes(file)
        here = offset_file.place
        offset_file.save(here)  # nothing is sent where the offset cannot be saved
        try:
            for line in archive.lines(file, here.offset, end):
                event = body_of(line.data) if line.data else {}
                if event and line.data:
                    if here != offset_file.place:
                        offset_file.save(here)
                    self._relay(line.data, event)
                elif line.data != b"":
                    result.damaged += 1
                    self._on_damage(here.line + 1)
                here = Place(line.end, here.line + 1)
                # A million invalid lines need no million writes.
                if event or here.offset - offset_file.place.offset >= SKIPPED_BYTES:
                    offset_file.save(here)
                self._on_progress(line.end, end)
            offset_file.save(here)
        except _StopError as stop:
            result.outcome, result.reason = stop.args
            if result.outcome is Outcome.DISABLED:
                purge.if_asked(self._home, settings.load(self._home, None).consent)
        finally:
            self._finish()
        result.rest_bytes = end - offset_file.place.offset
        return result

    def _relay(self, body: bytes, event: Mapping[str, Any]) -> None:
        """Deliver a body, unless it was delivered a moment ago, or its source ID was forgotten."""
        key = key_of(body)
        if key not in self._recent:
            try:
                self._deliver(key, body, event)
                self._recent.append(key)
                self._result.bodies += 1
            except _ForgottenError:
                self._result.forgotten += 1

    def _deliver(self, key: str, body: bytes, event: Mapping[str, Any]) -> None:
        """Send a body until it is accepted or refused, and keep it; a refused burst event by event."""
        outcome: Answer = Refused("the collector refused the burst")
        if not self._offset_file.place.members:
            outcome = self._send(key, body)
        if isinstance(outcome, Refused) and "burst" in event:
            self._deliver_members(key, codec.events(body))
        else:
            self._settle(key, body, codec.count(event), outcome)

    def _deliver_members(self, burst_key: str, events: Iterable[Event]) -> None:
        """Send the events of a burst; if the first one is refused, reject the others unsent."""
        done, refused = self._offset_file.place.members, ""
        for index, event in itertools.islice(enumerate(events), done, None):
            key, data = member_key(burst_key, index), codec.dumps(event).encode()
            outcome = Refused(refused) if refused else self._send(key, data)
            self._settle(key, data, 1, outcome)
            if index == 0 and isinstance(outcome, Refused):
                refused = f"{outcome.reason} (the first event of its burst)"
            elif not refused:
                self._offset_file.save(self._offset_file.place._replace(members=index + 1))

    def _send(self, key: str, body: bytes) -> Answer:
        """Send a body until the collector answers about it.

        Raises:
            _ForgottenError: its source ID was forgotten.
            _StopError: telemetry is off, or the time is over.
        """
        while True:
            self._wait()
            sink = self._opened_sink()
            if forgotten.holds(self._home, body):
                raise _ForgottenError
            outcome = sink.send(key, body)
            self._state.requests += 1
            if not isinstance(outcome, Delivered):
                _enabled(self._home, self._environ)  # after an opt-out nothing more is written
            if isinstance(outcome, PartSent):
                self._answered_at = self._clock.monotonic()
                continue
            if not isinstance(outcome, Retry):
                self._answered_at = self._clock.monotonic()
                self._retries.succeeded(waited_s=0, flush_requested=True)
                self._state.last_error = ""
                return outcome
            self._state.retried += 1
            self._state.last_error = outcome.reason
            self._retries.failed(outcome.after_s, needs_repair=outcome.needs_repair)

    def _wait(self) -> None:
        """Wait for the next try; raises _StopError if the time is over before it."""
        while (wait_s := self._retries.wait_s()) > 0:
            if self._clock.monotonic() + wait_s > self._answered_at + self._timeout_s:
                asked_s = retry_after.remaining_s(self._host, lambda: self._clock.time_ns() / 1e9)
                reason = retry_after_reason(asked_s) or self._state.last_error
                raise _StopError(Outcome.UNDELIVERED, reason)
            self._clock.sleep(wait_s)

    def _opened_sink(self) -> Sink:
        """The sink that the settings name now; raises as ``_enabled``."""
        chosen = _enabled(self._home, self._environ)
        if self._sink is None or chosen != self._settings:
            self._close()
            files.make_home(self._home.path)
            files.ensure_directory(self._host.telemetry)
            check_ownership(self._host)
            files.ensure_directory(self._host.root)
            self._sink, self._settings = open_sink(chosen), chosen
        return self._sink

    def _limits(self) -> Limits:
        limits = self._settings.limits
        return limits._replace(backoff_max_s=min(limits.backoff_max_s, LONGEST_PAUSE_S))

    def _settle(self, key: str, data: bytes, events: int, outcome: Answer) -> None:
        """Keep a body that the collector answered about, and count it."""
        is_kept = not forgotten.holds(self._home, data)  # its ID may be forgotten since the request began
        if is_kept:
            files.ensure_directory(self._host.root)  # a service of another host removes empty ones
        refused = events
        if isinstance(outcome, Refused):
            if is_kept:
                queue.keep_refused(self._host, key, data, outcome.reason)
        else:
            now, url = self._clock.now(), self._settings.url
            for piece in pieces.divide(key, data, outcome.refusals) if is_kept else ():
                if piece.reason:
                    queue.keep_refused(self._host, piece.name, piece.data, piece.reason)
                else:
                    receipt = archive.receipt(piece.name, now, outcome.status, url)
                    archive.archive(self._host, piece.data, receipt)
                    self._enforce_caps(len(piece.data))
            refused = sum(refusal.refused for refusal in outcome.refusals)
            self._state.delivered_events += events - refused
            self._state.last_delivery = now.isoformat()
        self._result.rejected += refused
        self._state.rejected += refused
        self._result.events += events

    def _enforce_caps(self, archived_bytes: int) -> None:
        """Enforce the caps of the home now and then, because perhaps no sidecar ever runs in it."""
        self._uncapped_bytes += archived_bytes
        if self._uncapped_bytes >= CAPS_EVERY_BYTES:
            self._uncapped_bytes = 0
            retention.enforce(self._home, self._settings.limits, files.now(self._host.state))

    def _finish(self) -> None:
        self._close()
        # No error here may hide the reason why the relay ends.
        with contextlib.suppress(OSError, TelemetryError, FileSinkError, _StopError):
            if self._state.requests:
                _enabled(self._home, self._environ)
                self._add_counters()
                self._enforce_caps(CAPS_EVERY_BYTES)

    def _add_counters(self) -> None:
        """Add to the host's counters, unless a sidecar runs: it would overwrite them with its own."""
        with held(self._host, 0, create=True) as lock:
            if lock.is_exclusive:
                state = State.load(self._host)
                state.add(self._state)
                state.last_delivery = self._state.last_delivery or state.last_delivery
                state.last_error = self._state.last_error
                state.save(self._host)

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None
