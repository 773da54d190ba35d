"""Deliver a file that sidecars without a way out have delivered into (``url = "file:///…"``).

    FILE ──a chunk──▶ work/ ──▶ outbox/ ──sidecar──▶ sent/, rejected/
                                                │
    FILE.relayed ◀── how far ───────────────────┘

The bodies are put into the outbox of this host, a chunk at a time, byte for byte; a body's key is the
SHA-256 of its line. What follows is a sidecar's affair (``drain.py``): retries, bursts that are refused, the
archive. The cursor moves on when a chunk is done, so what a death leaves is in the file or in the outbox.
What was handed over before a death is told by outboxes and archives, and is not handed over again; whatever
host of this home adopts it, it is done only when it is delivered (``whereabouts.py``).

A chunk takes at most half of what the cap leaves free: what waits in this home must not be dropped for it.

This room must never send, and never change FILE.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from flwr_telemetry import files, settings
from flwr_telemetry.layout import Home

from . import batch, cursor, drain, forgotten, guard, intake, purge, retention, stages, whereabouts
from .backlog import Left
from .chunks import Chunk, read
from .clock import Clock
from .cursor import Cursor, Place
from .errors import NoWayOutError
from .lines import opened, written_bytes
from .relayed import Relayed

_MIB = 1024 * 1024
_LOOK_S = 1.0
"""Between looks at all hosts."""


def relay(
    home: Home,
    environ: Mapping[str, str],
    path: Path,
    *,
    patience_s: float,
    on_damage: Callable[[int], None] = lambda _line: None,
    on_progress: Callable[[float, int], None] = lambda _done, _all: None,
    clock: Clock | None = None,
) -> Relayed:
    """Deliver what is new in a file.

    Args:
        home: whose way out is used.
        environ: this process's variables, for consent and for the way out.
        path: the file.
        patience_s: give up when for so long, in seconds, no body of the file is delivered.
        on_damage: told the number of each line that is no body.
        on_progress: told how many bytes are done, of how many.
        clock: time.

    Raises:
        NoSuchFileError: there is no such file.
        NoWayOutError: the home has no way out but a file.
        AnotherRelayError: another relay has the file.
        UnusableHomeError, TelemetryError, OSError: the cursor cannot be kept, or the home not be used.
    """
    chosen = settings.load(home, environ)
    if not chosen.consent.enabled:
        return Relayed(drain.Outcome.DISABLED, chosen.consent.reason)
    if chosen.url.startswith("file:"):
        raise NoWayOutError(
            f"{home.path} delivers into a file itself (url = {chosen.url}); "
            "choose a home with a way out by --home or FLWR_HOME"
        )
    path = path.resolve()  # so that all names of a file have one cursor
    with opened(path) as file, cursor.held(path) as held:
        return _Relay(home, environ, file, held, patience_s, on_progress, clock or Clock()).run(on_damage)


class _Relay:
    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        file: io.BufferedReader,
        held: Cursor,
        patience_s: float,
        on_progress: Callable[[float, int], None],
        clock: Clock,
    ) -> None:
        self._home = home
        self._host = home.host()
        self._environ = environ
        self._file = file
        self._cursor = held
        self._patience_s = patience_s
        self._on_progress = on_progress
        self._clock = clock
        self._end = written_bytes(file)
        self._result = Relayed()

    def run(self, on_damage: Callable[[int], None]) -> Relayed:
        result, place = self._result, self._start()
        while (chunk := self._next(place)) is not None and self._is_done(place, chunk):
            for number in chunk.damaged:
                on_damage(number)
            result.damaged += len(chunk.damaged)
            result.forgotten += chunk.forgotten
            result.bodies += len(chunk.bodies)
            result.events += sum(map(stages.count_events, chunk.bodies.values()))
            # What a death before this would tell once more was told; what it would send once more is known.
            self._cursor.save(chunk.place)
            place = chunk.place
        result.rest_bytes = self._end - place.offset
        return result

    def _start(self) -> Place:
        place = self._cursor.place or Place()
        if place.check != cursor.check_of(self._file.fileno(), place.offset):
            self._result.from_start = True
            place = Place()
        if place.offset < self._end:
            self._cursor.save(place)  # where that cannot be done, nothing is sent
        return place

    # Reading

    def _next(self, place: Place) -> Chunk | None:
        """The next lines; None if there are none, or no room for the first body."""
        chunk = self._read(place)
        if chunk.too_large and self._deliver(self._waiting_here()):  # this goes first
            chunk = self._read(place)
            if chunk.too_large:
                self._give_up(f"spool_max_mib leaves no room for line {chunk.too_large}")
        return chunk if chunk.place.offset > place.offset else None

    def _read(self, place: Place) -> Chunk:
        return read(self._file, place, self._end, self._room_bytes(), self._is_forgotten)

    def _is_forgotten(self, body: bytes) -> bool:
        return forgotten.holds(self._home, body)

    def _room_bytes(self) -> int:
        cap_bytes = settings.load(self._home, self._environ).limits.spool_max_mib * _MIB
        free_bytes = cap_bytes - retention.unsent_bytes(self._home)
        return int(max(free_bytes, 0) / 2)

    # Handing over

    def _is_done(self, place: Place, chunk: Chunk) -> bool:
        """Hand a chunk over and have it delivered; False, with the reason told, if that is not all done."""
        if not chunk.bodies:
            return True
        files.make_home(self._home.path)
        files.ensure_directory(self._host.telemetry)
        guard.check(self._host)
        dropped = whereabouts.dropped(self._home)
        handed = place.handed
        if handed is not None and handed.home != str(self._home.telemetry):
            handed = None
        known = whereabouts.taken(self._home, handed, chunk.bodies)
        if handed is None:
            handed = whereabouts.about_to_hand(self._home, chunk.place.offset)
            self._cursor.save(replace(place, handed=handed))
        names = whereabouts.names_of(chunk.bodies)
        refused = whereabouts.refused(self._home)
        into = intake.Intake(self._host, batch.new_name(self._clock.time_ns()), self._may_go_on)
        try:
            for key, data in chunk.bodies.items():
                if key not in known and not into.put(key, data):
                    return self._off()
        finally:
            into.settle()
        is_delivered = self._deliver(names, place.offset, chunk.place.offset)
        self._result.rejected += whereabouts.refused_since(self._home, refused, names)
        lost = whereabouts.dropped(self._home) - dropped
        if is_delivered and lost > 0 and whereabouts.unanswered(self._home, handed, chunk.bodies):
            # Perhaps of these: they are handed over again.
            return self._give_up(f"a cap (spool_max_mib, spool_max_days) dropped {lost} events")
        return is_delivered

    def _waiting_here(self) -> frozenset[str]:
        return frozenset(whereabouts.waiting_on([self._host]))

    def _deliver(self, names: frozenset[str], start: int = 0, end: int = 0) -> bool:
        """Have bodies delivered, wherever in this home they are, for as long as one of them leaves it.

        That others leave is no reason to go on: that may have no end.
        """
        watch = whereabouts.Watch(self._home, names, self._clock.monotonic)

        def tell(_left: Left) -> None:
            if self._clock.monotonic() - watch.looked_at >= _LOOK_S:
                share = 1 - len(watch.look()) / max(len(names), 1)
                self._on_progress(start + share * (end - start), self._end)

        def remaining_s() -> float:
            return watch.moved_at + self._patience_s - self._clock.monotonic()

        while True:
            moved_at = watch.moved_at
            came_to = drain.drain(
                self._home,
                self._environ,
                timeout_s=max(remaining_s(), 0),
                on_progress=tell,
                clock=self._clock,
            )
            if came_to.outcome is drain.Outcome.DISABLED:
                return self._off()
            left = watch.look()
            if not left:
                return True
            is_done_here = came_to.outcome is drain.Outcome.DELIVERED
            if remaining_s() <= 0 or (not is_done_here and watch.moved_at == moved_at):
                there = set(left.values())
                if self._host.name in there and came_to.reason:
                    return self._give_up(came_to.reason)
                return self._give_up(f"{len(left)} bodies wait for the sidecar of {', '.join(sorted(there))}")
            if is_done_here:  # another host adopted them
                self._clock.sleep(max(min(_LOOK_S, remaining_s()), 0))

    def _give_up(self, reason: str) -> bool:
        self._result.outcome, self._result.reason = drain.Outcome.UNDELIVERED, reason
        return False

    def _off(self) -> bool:
        purge.if_asked(self._home, settings.load(self._home, None).consent)
        consent = settings.load(self._home, self._environ).consent
        self._result.outcome, self._result.reason = drain.Outcome.DISABLED, consent.reason
        return False

    def _may_go_on(self) -> bool:
        return settings.load(self._home, self._environ).consent.enabled
