"""Deliver a file that sidecars without a network have delivered into (``url = "file:///…"``).

    FILE ──a line──▶ collector ──accepted──▶ sent/<date>.jsonl
                                └─refused──▶ rejected/<key>.json, <key>.reason.txt
    FILE.relayed ◀── the offset, after each body

Each line is sent byte for byte through the sink that the uploader uses; its key is the SHA-256 of the line.
A refused burst is sent event by event, under the keys that ``outbox/split.py`` gives them. Consent is checked
before each request. After an opt-out only the body that was just accepted is recorded.

A relay that dies sends at most one body again, under the same key: the one that it had not noted yet.

This module must never change FILE, and never touch the outbox.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flwr_telemetry import files, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import BODY_SUFFIX, Home
from flwr_telemetry.settings import Settings
from flwr_telemetry.settings_file import Limits

from ...burst import codec
from ...clock import Clock
from ...delivery import open_sink, retry_after
from ...delivery.backoff import RetryPolicy
from ...delivery.outcome import Delivered, Refused, Retry, Sink
from ...errors import FileSinkError, NoSuchFileError
from ...outbox import archive, forgotten, purge, queue, retention
from ...outbox.archive import Line
from ...outbox.body import intact, key_of
from ...outbox.split import member_key
from ...spool.directory import check_ownership
from ...spool.locks import held
from ...state import State
from .. import flush
from . import offset
from .offset import OffsetFile, Place

LONGEST_PAUSE_S = 8.0
"""The longest backoff: a person may be waiting. A ``Retry-After`` may be longer."""

RECENT_KEYS = 500
CAPS_EVERY_BYTES = 4 * 1024 * 1024
"""The caps of ``sent/`` are kept whenever so much was archived, and at the end."""


@dataclass(slots=True)
class RelayResult:
    """The result of a relay."""

    outcome: flush.Outcome = flush.Outcome.DELIVERED
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
    """The relay ends before the end of the file."""

    def __init__(self, outcome: flush.Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


def relay_file(
    home: Home,
    environ: Mapping[str, str],
    path: Path,
    *,
    patience_s: float,
    on_damage: Callable[[int], None] = lambda _line: None,
    on_progress: Callable[[float, int], None] = lambda _done, _all: None,
    clock: Clock | None = None,
) -> RelayResult:
    """Deliver the lines of a file that were not delivered before.

    Args:
        home: its settings say where to, and its ``sent/`` and ``rejected/`` keep the bodies.
        environ: this process's variables, for consent.
        path: the file.
        patience_s: give up when the collector has answered about no body for so long, in seconds.
        on_damage: told the number of each line that is no body.
        on_progress: told how many bytes are done, of how many.
        clock: time and chance.

    Raises:
        NoSuchFileError: there is no such file.
        FileSinkError: the home delivers into a file itself.
        AnotherRelayError: another relay has the file.
        UnusableHomeError, TelemetryError, OSError: the offset cannot be kept, or the home not be used.
    """
    try:
        _enabled(home, environ)
    except _StopError as stop:
        return RelayResult(stop.outcome, stop.reason)
    path = path.resolve()  # so that all names of a file share one offset
    with _opened(path) as file, offset.held(path) as held:
        return _Relay(home, environ, file, held, patience_s, clock or Clock()).run(on_damage, on_progress)


def _enabled(home: Home, environ: Mapping[str, str]) -> Settings:
    """The settings as they are now.

    Raises:
        _StopError: telemetry is off.
        FileSinkError: the home delivers into a file.
    """
    chosen = settings.load(home, environ)
    if not chosen.consent.enabled:
        raise _StopError(flush.Outcome.DISABLED, chosen.consent.reason)
    if chosen.url.startswith("file:"):
        raise FileSinkError(
            f"{home.path} delivers into a file itself (url = {chosen.url}); "
            "choose a home with a way out by --home or FLWR_HOME"
        )
    return chosen


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """A plain file of any owner, open for reading.

    Raises:
        NoSuchFileError: it is none, or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise NoSuchFileError(f"{path} cannot be read: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoSuchFileError(f"{path} is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


class _Relay:
    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        file: io.BufferedReader,
        held: OffsetFile,
        patience_s: float,
        clock: Clock,
    ) -> None:
        self._home = home
        self._host = home.host()
        self._environ = environ
        self._file = file
        self._held = held
        self._patience_s = patience_s
        self._clock = clock
        self._place = held.place or Place()
        self._end = archive.written_bytes(file)
        self._result = RelayResult()
        self._state = State()  # what this relay adds to the host's
        self._recent: deque[str] = deque(maxlen=RECENT_KEYS)
        self._settings: Settings | None = None
        self._sink: Sink | None = None
        self._retries = RetryPolicy(self._host, clock, self._limits, earlier_run_failed=False)
        self._answered_at = clock.monotonic()
        self._uncapped_bytes = 0

    def run(self, on_damage: Callable[[int], None], on_progress: Callable[[float, int], None]) -> RelayResult:
        result = self._result
        if self._place.check != offset.check_of(self._file.fileno(), self._place.offset):
            result.from_start = True
            self._place = Place()
        self._save()  # nothing is sent where the offset cannot be kept
        try:
            for line in archive.lines(self._file, self._place.offset, self._end):
                was_sent = self._do(line, on_damage)
                self._place = Place(line.end, self._place.line + 1)
                if was_sent:
                    self._save()
                on_progress(line.end, self._end)
        except _StopError as stop:
            result.outcome, result.reason = stop.outcome, stop.reason
            if stop.outcome is flush.Outcome.DISABLED:
                purge.if_asked(self._home, settings.load(self._home, None).consent)
        finally:
            self._finish()
        self._save()  # lines that are no bodies are reported once
        result.rest_bytes = self._end - self._place.offset
        return result

    def _save(self) -> None:
        check = offset.check_of(self._file.fileno(), self._place.offset)
        self._place = replace(self._place, check=check)
        if self._place != self._held.place:
            self._held.save(self._place)

    def _do(self, line: Line, on_damage: Callable[[int], None]) -> bool:
        """Deliver or skip a line; whether the collector answered about it."""
        if line.data == b"":
            return False
        body = line.data or b""
        key = key_of(body)
        # No sidecar writes space around a body; a line end of another program makes it another body.
        event = intact(key, body) if body.strip() == body else {}
        if not event:
            self._result.damaged += 1
            on_damage(self._place.line + 1)
        elif key in self._recent:
            pass  # a sidecar that died after its append wrote the line again
        elif self._deliver(key, body, event):
            self._recent.append(key)
            self._result.bodies += 1
            return True
        else:
            self._result.forgotten += 1
        return False

    def _deliver(self, key: str, body: bytes, event: Mapping[str, Any]) -> bool:
        """Send a body until it is accepted or refused; False if its source ID is forgotten."""
        if self._place.members:
            return self._deliver_members(key, body, "the collector refused it")
        outcome = self._send(key, body)
        if isinstance(outcome, Refused) and "burst" in event:
            return self._deliver_members(key, body, outcome.reason)
        return self._settle(key, body, codec.count(event), outcome)

    def _deliver_members(self, key: str, body: bytes, reason: str) -> bool:
        """Send a refused burst event by event; if its first event is refused too, none of the others."""
        done, refused = self._place.members, ""
        try:
            for index, event in enumerate(codec.events(body)):
                member, data = member_key(key, index), codec.dumps(event).encode()
                if index < done:
                    continue
                outcome = Refused(refused) if refused else self._send(member, data)
                if not self._settle(member, data, 1, outcome):
                    return False
                if index == 0 and isinstance(outcome, Refused):
                    refused = f"{outcome.reason} (the first event of its burst)"
                elif not refused:
                    self._place = replace(self._place, members=index + 1)
                    self._save()
        except codec.NotABodyError:
            self._settle(key, body, 1, Refused(reason))
        return True

    def _send(self, key: str, body: bytes) -> Delivered | Refused | None:
        """Send a body until the collector answers about it; None if its source ID is forgotten.

        Raises:
            _StopError: telemetry is off, or the patience is over.
        """
        while True:
            self._wait()
            sink = self._open()
            if forgotten.holds(self._home, body):
                return None
            outcome = sink.send(key, body)
            self._state.requests += 1
            if not isinstance(outcome, Delivered):
                _enabled(self._home, self._environ)  # after an opt-out nothing more is written
            if not isinstance(outcome, Retry):
                self._answered_at = self._clock.monotonic()
                self._retries.succeeded(waited_s=0, flush_requested=True)
                self._state.last_error = ""
                return outcome
            self._state.retried += 1
            self._state.last_error = outcome.reason
            self._retries.failed(outcome.after_s)

    def _wait(self) -> None:
        """Wait for the next try; raises _StopError if that lies beyond the patience."""
        while (wait_s := self._retries.wait_s()) > 0:
            if self._clock.monotonic() + wait_s > self._answered_at + self._patience_s:
                asked_s = retry_after.remaining_s(self._host, lambda: self._clock.time_ns() / 1e9)
                reason = self._state.last_error
                if asked_s > 0:
                    reason = f"the collector asked for no requests for another {asked_s:.0f} s"
                raise _StopError(flush.Outcome.UNDELIVERED, reason)
            self._clock.sleep(wait_s)

    def _open(self) -> Sink:
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
        limits = self._settings.limits if self._settings else Limits()
        return limits._replace(backoff_max_s=min(limits.backoff_max_s, LONGEST_PAUSE_S))

    def _settle(self, key: str, data: bytes, events: int, outcome: Delivered | Refused | None) -> bool:
        """Keep a body that the collector answered about; False if it was not sent."""
        if outcome is None:
            return False
        is_kept = not forgotten.holds(self._home, data)  # it may have been forgotten while it was on its way
        if is_kept:
            files.ensure_directory(self._host.root)  # a service of another host removes empty ones
        if isinstance(outcome, Refused):
            if is_kept:
                self._reject(key, data, outcome.reason)
            self._result.rejected += events
            self._state.rejected += events
        else:
            if is_kept:
                archive.archive(self._host, data, self._clock.now())
                self._keep_caps(len(data))
            self._state.delivered_events += events
            self._state.last_delivery = self._clock.now().isoformat()
        self._result.events += events
        return True

    def _reject(self, key: str, data: bytes, reason: str) -> None:
        files.ensure_directory(self._host.rejected)
        kept = self._host.rejected / f"{key}{BODY_SUFFIX}"
        files.replace_bytes(queue.reason_of(kept), reason.encode() + b"\n")
        files.replace_bytes(kept, data, durable=True)

    def _keep_caps(self, archived_bytes: int) -> None:
        """Hold the home to its caps now and then: perhaps no sidecar ever runs in it."""
        self._uncapped_bytes += archived_bytes
        if self._uncapped_bytes >= CAPS_EVERY_BYTES and self._settings:
            self._uncapped_bytes = 0
            retention.enforce(self._home, self._settings.limits, files.now(self._host.state))

    def _finish(self) -> None:
        self._close()
        # Neither of these may hide why the relay ended.
        with contextlib.suppress(OSError, TelemetryError, FileSinkError, _StopError):
            if self._state.requests:
                _enabled(self._home, self._environ)
                self._add_counters()
                self._keep_caps(CAPS_EVERY_BYTES)

    def _add_counters(self) -> None:
        """Add to the host's counters. A sidecar that runs would overwrite them with its own."""
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
