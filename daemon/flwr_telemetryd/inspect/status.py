"""How telemetry stands in a home: a read-only view of the directory, as plain values.

It works on a home that is missing, unreadable or damaged: what cannot be seen becomes a sentence in
``problems``. The numbers are a snapshot of things that move; an event on its way from one stage to the
next may be counted at both or at neither.

This module must never start a process, and never leave a file behind. It takes no lock, except the sidecar's
for a moment, to see whether it is free.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flwr_telemetry import presence, settings, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths

from ..delivery import retry_after
from ..errors import describe
from ..outbox import archive, contents
from ..outbox.body import read as read_body
from ..spool import reader
from ..spool.directory import known_hosts
from ..state import State
from .problems import can_be_read, find_problems, how_to_change


def look(home: Home, environ: Mapping[str, str], *, site_file: Path = settings.SITE_FILE) -> Status:
    """How telemetry stands now.

    Args:
        home: the home; it need not exist.
        environ: this process's variables, for consent.
        site_file: the site's settings.

    Never raises for what the home is or holds.
    """
    now = settings.load(home, environ, site_file=site_file)
    view = Status(
        enabled=now.consent.enabled,
        decided_by=now.consent.decided_by,
        reason=now.consent.reason,
        change=how_to_change(now.consent),
        source=source.read(home.source),
        home=str(home.path),
        url=None if now.consent.malformed else now.url,
        services=[],
        hosts=[],
        problems=find_problems(home, now),
    )
    if can_be_read(home):
        view.services = sorted(_services(home), key=lambda service: service.age_s)
        this = home.host().name
        for host in known_hosts(home):
            view.hosts.append(_look_at_host(host, view.problems, this_host=host.name == this))
    view.problems = list(dict.fromkeys(view.problems))
    return view


def _services(home: Home) -> Iterator[ServiceView]:
    for host, age_s in presence.heartbeats(home, lambda: presence.file_system_now(home.telemetry)).items():
        fresh = age_s < presence.HEARTBEAT_FRESH_S
        yield ServiceView(host, round(max(age_s, 0.0), 1), fresh)


def _look_at_host(host: HostPaths, problems: list[str], *, this_host: bool) -> HostView:
    state = State.load(host)
    retry_after_s = retry_after.remaining_s(host, lambda: presence.file_system_now(host.root))
    view = HostView(
        host=host.name,
        this_host=this_host,
        sidecar=SidecarView(
            alive=_alive(host),
            pid=state.pid or None,
            mode=state.mode,
            version=state.version,
            started=state.started,
            ended=state.ended,
        ),
        counters=Counters(state.damaged, _size(host.dropped), state.rejected, state.retried),
        requests=state.requests,
        delivered_events=state.delivered_events,
        last_delivery=state.last_delivery or None,
        next_try=state.next_try or None,
        retry_after_s=round(max(retry_after_s, 0.0), 1),
        last_error=state.last_error or None,
    )
    # In the order in which events move, so that none slips past.
    _tell(problems, lambda: contents.spool_segments(host), lambda path: _add_segment(view.spool, path))
    _tell(problems, lambda: contents.outbox_bodies(host), lambda path: _add_body(view.outbox, path))
    _tell(problems, lambda: archive.archive_files(host), lambda path: _add_archive(view.sent, path))
    _tell(problems, lambda: contents.rejected_bodies(host), lambda path: _add_body(view.rejected, path))
    return view


def _tell(problems: list[str], listing: Callable[[], Iterable[Path]], add: Callable[[Path], None]) -> None:
    """Go through what is at one stage; what cannot be read becomes a problem and stops nothing else."""
    try:
        for path in listing():
            try:
                add(path)
            except FileNotFoundError:
                continue  # it moved on
            except (OSError, TelemetryError) as error:
                problems.append(describe(error, path))
    except (OSError, TelemetryError) as error:
        problems.append(describe(error, None))


def _add_segment(amount: Spooled, path: Path) -> None:
    for piece in contents.read_segment(path):
        if isinstance(piece, reader.Record):
            amount.events += 1
            amount.bytes += piece.size_bytes
        else:
            amount.bytes += len(piece.data)


def _add_body(amount: Bodies, path: Path) -> None:
    _add(amount, read_body(path))


def _add_archive(amount: Bodies, path: Path) -> None:
    for body, _ in archive.read_archive(path):
        _add(amount, body)


def _add(amount: Bodies, body: bytes) -> None:
    amount.bodies += 1
    amount.events += contents.count_events(body)
    amount.bytes += len(body)


def _alive(host: HostPaths) -> bool | None:
    try:
        return presence.alive(host)
    except (OSError, TelemetryError):
        return None  # a lock that we may not even open says nothing


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


@dataclass(slots=True)
class Spooled:
    """What is in segments.

    Attributes:
        events: how many.
        bytes: of their records, and of damage between them.
    """

    events: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Bodies:
    """What is in request bodies.

    Attributes:
        bodies: how many.
        events: how many they stand for.
        bytes: of all of them.
    """

    bodies: int = 0
    events: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Counters:
    """What went wrong, ever; outlives every sidecar.

    Attributes:
        damaged: runs of bytes that were no record.
        dropped: events that a cap of size or age took.
        rejected: events that the collector refused.
        retried: requests that failed and were or will be repeated.
    """

    damaged: int = 0
    dropped: int = 0
    rejected: int = 0
    retried: int = 0


@dataclass(slots=True)
class SidecarView:
    """Who delivers on a host, or did last.

    Attributes:
        alive: whether the lock is held; None if that cannot be told.
        pid: the process; None if there never was one.
        mode: ``on demand``, ``service`` or ``once``; empty if there never was one.
        version: of this distribution.
        started: when, ISO 8601 in UTC; empty if never.
        ended: when and why; empty while it runs, or if it was killed.
    """

    alive: bool | None
    pid: int | None
    mode: str
    version: str
    started: str
    ended: str


@dataclass(slots=True)
class HostView:
    """One host of the home.

    Attributes:
        host: its directory name.
        this_host: whether it is the one that runs this.
        sidecar: who delivers.
        spool: events that are in no body yet.
        outbox: what waits for delivery.
        sent: the archive of what was accepted, as far as it is kept.
        rejected: what the collector refused, as far as it is kept.
        counters: what went wrong.
        requests: made, ever.
        delivered_events: accepted, ever.
        last_delivery: when, ISO 8601 in UTC; None if never.
        next_try: when, ISO 8601 in UTC; None if nothing waits for it.
        retry_after_s: for how long the collector still asked to be left alone, roughly; 0 if it did not.
        last_error: a word; None after a success.
    """

    host: str
    this_host: bool
    sidecar: SidecarView
    spool: Spooled = field(default_factory=Spooled)
    outbox: Bodies = field(default_factory=Bodies)
    sent: Bodies = field(default_factory=Bodies)
    rejected: Bodies = field(default_factory=Bodies)
    counters: Counters = field(default_factory=Counters)
    requests: int = 0
    delivered_events: int = 0
    last_delivery: str | None = None
    next_try: str | None = None
    retry_after_s: float = 0.0
    last_error: str | None = None


@dataclass(slots=True)
class ServiceView:
    """A service that serves the home, or did.

    Attributes:
        host: where.
        age_s: since its last sign of life, by this host's clock.
        fresh: whether that keeps other hosts from starting a sidecar.
    """

    host: str
    age_s: float
    fresh: bool


@dataclass(slots=True)
class Status:
    """The whole view.

    Attributes:
        enabled: whether telemetry is on for a process with these variables.
        decided_by: what decided it, as in ``settings.Consent``.
        reason: one sentence: file and line, or the variable's value.
        change: one sentence: what would change it.
        source: the source ID; ``invalid`` or ``unavailable``; None if there is none yet.
        home: the ``.flwr`` directory.
        url: where events go; None if the settings cannot be read.
        services: every service that left a sign of life here, the last one first.
        hosts: every host that has a directory here.
        problems: what is in the way, one sentence each.
    """

    enabled: bool
    decided_by: str
    reason: str
    change: str
    source: str | None
    home: str
    url: str | None
    services: list[ServiceView]
    hosts: list[HostView]
    problems: list[str]

    def public(self) -> dict[str, Any]:
        """All of it for JSON, with the sums over all hosts under ``totals``."""
        totals = {
            name: {
                item: sum(getattr(getattr(host, name), item) for host in self.hosts)
                for item in asdict(kind())
            }
            for name, kind in _SUMMED.items()
        }
        return {**asdict(self), "totals": totals}


_SUMMED: dict[str, Callable[[], Any]] = {
    "spool": Spooled,
    "outbox": Bodies,
    "sent": Bodies,
    "rejected": Bodies,
    "counters": Counters,
}
