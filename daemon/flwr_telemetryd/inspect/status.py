"""The status of a home: a read-only view of its directory, as plain values; the JSON of ``status --json``.

It works for a home that is missing, unreadable or damaged: each thing that cannot be read becomes a sentence
in ``problems``. The numbers are a snapshot of files that move. An event on its way from one stage to the next
may be counted at both or at neither.

This module never starts a process, and leaves no file behind. It takes the sidecar's lock for a moment,
to see if it is free.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flwr_telemetry import context, machine, presence, settings, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths, host_name
from flwr_telemetry.record import Event
from flwr_telemetry.settings import Settings

from ..delivery import retry_after
from ..delivery.proxies import is_loopback
from ..outbox import archive, contents, queue
from ..outbox.body import read as read_body
from ..spool import reader
from ..spool.directory import known_hosts
from ..state import State
from .flower import FlowerView, read_flower
from .problems import (
    can_be_read,
    find_problems,
    held_in_vain,
    never_lived,
    public_consent,
    read_each,
    size_of,
)

_ANOTHER_MACHINE = "another machine that shares this home has the same name"


@dataclass(slots=True)
class Spooled:
    """The content of segments."""

    events: int = 0

    bytes: int = 0
    """The size of the events' records, and of damage between them."""


@dataclass(slots=True)
class Bodies:
    """The content of request bodies."""

    bodies: int = 0

    events: int = 0

    bytes: int = 0


@dataclass(slots=True)
class Counters:
    """Counters of a host, from its first sidecar on."""

    damaged: int = 0
    """Runs of bytes that were no record, and damaged bodies."""

    dropped: int = 0
    """Events that a cap of size or age has deleted."""

    rejected: int = 0
    """Events that the collector refused."""

    retried: int = 0
    """Requests that failed and were or will be repeated."""


@dataclass(slots=True)
class SidecarView:
    """The sidecar that runs on a host, or ran last."""

    alive: bool | None
    """Whether its lock is held; None if the lock cannot be opened."""

    pid: int | None
    """The process; None if there was no sidecar yet."""

    mode: str
    """``on demand``, ``service`` or ``once``; empty if there was no sidecar yet."""

    version: str
    """The version of this distribution."""

    started: str
    """ISO 8601 in UTC; empty if there was no sidecar yet."""

    ended: str
    """The time and the reason; empty while it runs, or if it was killed."""


@dataclass(slots=True)
class HostView:
    """One host of the home."""

    host: str
    """The name of its directory."""

    this_host: bool
    """Whether this process runs on it."""

    sidecar: SidecarView

    spool: Spooled = field(default_factory=Spooled)
    """Events that are in no body yet."""

    outbox: Bodies = field(default_factory=Bodies)
    """Bodies that wait for delivery."""

    sent: Bodies = field(default_factory=Bodies)
    """Bodies that were accepted, as far as they are kept."""

    days: dict[str, Bodies] = field(default_factory=dict)
    """The bodies that were sent on each day, as far as they are kept; days as ``2026-11-25``, in UTC."""

    rejected: Bodies = field(default_factory=Bodies)
    """Bodies that the collector refused, as far as they are kept."""

    counters: Counters = field(default_factory=Counters)

    requests: int = 0
    """Requests of all sidecars."""

    delivered_events: int = 0
    """Events that the collector has accepted from all sidecars."""

    last_delivery: str | None = None
    """ISO 8601 in UTC; None if there was none."""

    next_try: str | None = None
    """ISO 8601 in UTC; None if nothing waits for it."""

    retry_after_s: float = 0.0
    """The rest of the collector's ``Retry-After``, in seconds, roughly; 0 without one."""

    last_error: str | None = None
    """None after a success."""

    last_refusal: str | None = None
    """Why the collector refused a body last; None if no refused body is kept."""


@dataclass(slots=True)
class ServiceView:
    """A service that serves the home, or did."""

    host: str

    age_s: float
    """The age of its heartbeat, in seconds, by the time of the file system."""

    fresh: bool
    """Whether the heartbeat keeps other hosts from starting a sidecar."""


@dataclass(slots=True)
class Status:
    """The whole view."""

    enabled: bool
    """Whether telemetry is on for a process with these variables."""

    decided_by: str
    """The setting that decides, as in ``settings.Consent``."""

    reason: str
    """One sentence: file and line, or the value of the variable."""

    change: str
    """One sentence: how to change it."""

    source: str | None
    """The source ID; ``invalid`` or ``unavailable``; None if there is none yet."""

    home: str
    """The ``.flwr`` directory."""

    directory: str
    """The name of this machine's directory in ``telemetry/``."""

    directory_reason: str
    """Why that is not the name of this host; empty if it is."""

    url: str | None
    """The collector; None if the settings cannot be read."""

    manner: str
    """How they are sent there, unless in Flower's form and encrypted or to this machine: ``OTLP``,
    ``unencrypted``."""

    kept_by: str
    """Why events are collected and never sent (``upload = false``); empty if they are sent."""

    new_fields: list[str]
    """Fields that are new since a person was told of the list, and that nobody has looked at."""

    flower: FlowerView
    """The Flower of this environment."""

    services: list[ServiceView]
    """Every service with a heartbeat here, the latest heartbeat first."""

    hosts: list[HostView]
    """Every host that has a directory here."""

    problems: list[str]
    """One sentence each."""

    def public(self) -> dict[str, Any]:
        """All of it for JSON, with the sums over all hosts under ``totals``."""
        return {**asdict(self), "totals": totals(self.hosts)}


def totals(hosts: Collection[HostView]) -> dict[str, dict[str, int]]:
    """The sums over hosts, with the names of ``HostView``."""
    kinds = {"spool": Spooled, "outbox": Bodies, "sent": Bodies, "rejected": Bodies, "counters": Counters}
    return {
        name: {key: sum(getattr(getattr(host, name), key) for host in hosts) for key in asdict(kind())}
        for name, kind in kinds.items()
    }


def read_status(home: Home, environ: Mapping[str, str]) -> Status:
    """The status of a home now.

    Args:
        home: the home; it need not exist.
        environ: this process's variables, for consent.

    Never raises because of the state of the home.
    """
    now = settings.load(home, environ)
    problems = dict.fromkeys(find_problems(home, now))
    own = machine.own_host(home)
    services: list[ServiceView] = []
    hosts: list[HostView] = []
    if can_be_read(home):
        ages = presence.heartbeats(home, lambda: presence.file_system_now(home.telemetry))
        services = [
            ServiceView(host, round(max(age_s, 0.0), 1), age_s < presence.HEARTBEAT_FRESH_S)
            for host, age_s in sorted(ages.items(), key=lambda item: item[1])
        ]
        hosts = [_host(host, problems, this_host=host == own) for host in known_hosts(home)]
        if now.consent.enabled:
            problems |= dict.fromkeys(held_in_vain(own))
        needed = now.consent.enabled and not any(service.fresh for service in services)
        for host in (home.host(view.host) for view in hosts if needed and view.sidecar.alive is False):
            problems |= dict.fromkeys(
                never_lived(host, functools.partial(presence.file_system_now, host.root))
            )
    return Status(
        **public_consent(now.consent),
        source=source.read(home.source),
        home=str(home.path),
        directory=own.name,
        directory_reason="" if own.name == host_name() else _ANOTHER_MACHINE,
        url=None if now.consent.malformed else now.url,
        manner=manner_of(now),
        kept_by=now.kept_by,
        new_fields=new_fields(home),
        flower=read_flower(environ, enabled=now.consent.enabled),
        services=services,
        hosts=hosts,
        problems=list(problems),
    )


def _host(host: HostPaths, problems: dict[str, None], *, this_host: bool) -> HostView:
    state = State.load(host)
    retry_after_s = retry_after.remaining_s(host, lambda: presence.file_system_now(host.root))
    sent, days = Bodies(), dict[str, Bodies]()
    for day, body in read_each(lambda: archive.archive_files(host), _archive, problems):
        _add(sent, body)
        _add(days.setdefault(day, Bodies()), body)
    view = SidecarView(alive(host), state.pid or None, state.mode, state.version, state.started, state.ended)
    return HostView(
        host=host.name,
        this_host=this_host,
        sidecar=view,
        # In the order in which events move, to miss none.
        spool=_spooled(read_each(lambda: contents.spool_segments(host), contents.read_segment, problems)),
        outbox=_bodies(read_each(lambda: contents.outbox_bodies(host), _file, problems)),
        sent=sent,
        days=days,
        rejected=_bodies(read_each(lambda: contents.rejected_bodies(host), _file, problems)),
        counters=Counters(state.damaged, size_of(host.dropped), state.rejected, state.retried),
        requests=state.requests,
        delivered_events=state.delivered_events,
        last_delivery=state.last_delivery or _last_in_archive(host),
        next_try=state.next_try or None,
        retry_after_s=round(max(retry_after_s, 0.0), 1),
        last_error=state.last_error or None,
        last_refusal=last_refusal(host),
    )


def manner_of(now: Settings) -> str:
    """How events are sent, as far as a person should know it; empty for Flower's form over a safe way."""
    parts = urlsplit(now.url)
    if parts.scheme == "file":
        return ""
    is_open = parts.scheme == "http" and not is_loopback(parts.hostname or "")
    return ", ".join(["OTLP"] * (now.format == "otlp") + ["unencrypted"] * is_open)


def new_fields(home: Home) -> list[str]:
    """The fields that are new since a home was told of the list, unless somebody has looked at them."""
    known = context.told(home.noticed)
    fresh = {*context.untold(home.noticed), *(known.fresh if known else ())}
    return [field.name for field in context.FIELDS if field.name in fresh]


def last_refusal(host: HostPaths) -> str | None:
    """The reason beside the body that was refused last."""
    with contextlib.suppress(OSError, TelemetryError):
        if bodies := contents.rejected_bodies(host):
            return queue.read_reason(max(bodies, key=lambda path: queue.reason_of(path).lstat().st_mtime))
    return None


def _last_in_archive(host: HostPaths) -> str | None:
    """When a body was sent last, by the archive, because a home may have been copied without the state."""
    with contextlib.suppress(OSError, TelemetryError):
        for day in reversed(archive.archive_files(host)):
            if last := archive.Receipts(day).last_sent():
                return last
    return None


def _spooled(pieces: Iterator[reader.Record[Event] | reader.Damage]) -> Spooled:
    spooled = Spooled()
    for piece in pieces:
        spooled.events += isinstance(piece, reader.Record)
        spooled.bytes += piece.size_bytes
    return spooled


def _bodies(found: Iterator[bytes]) -> Bodies:
    bodies = Bodies()
    for body in found:
        _add(bodies, body)
    return bodies


def _add(bodies: Bodies, body: bytes) -> None:
    bodies.bodies += 1
    bodies.events += contents.count_events(body)
    bodies.bytes += len(body)


def _file(path: Path) -> Iterator[bytes]:
    yield read_body(path)


def _archive(path: Path) -> Iterator[tuple[str, bytes]]:
    day = path.name.partition(".")[0]
    return ((day, body) for body, _ in archive.read_archive(path))


def alive(host: HostPaths) -> bool | None:
    """Whether a sidecar runs on a host; None if its lock is no file of ours or cannot be opened."""
    try:
        return presence.alive(host)
    except (OSError, TelemetryError):
        return None
