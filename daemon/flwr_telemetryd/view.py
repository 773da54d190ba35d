"""How telemetry stands, as plain values; ``asdict`` of them is the JSON of ``flwr-telemetry status``.

Every name here is a promise to those who read that JSON. This room must never look at anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


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
