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
from pathlib import Path

from flwr_telemetry import presence, scan, settings, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths

from . import archive, health, retention, retry_after, stages
from .body import read as read_body
from .errors import sentence
from .state import State
from .view import Bodies, Counters, HostView, ServiceView, SidecarView, Spooled, Status


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
        change=health.what_would_change(now.consent),
        source=source.look(home.source),
        home=str(home.path),
        url=None if now.consent.malformed else now.url,
        services=[],
        hosts=[],
        problems=health.problems(home, now),
    )
    if health.can_be_read(home):
        view.services = sorted(_services(home), key=lambda service: service.age_s)
        this = home.host().name
        for host in retention.hosts(home):
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
    _tell(problems, lambda: stages.spool_segments(host), lambda path: _add_segment(view.spool, path))
    _tell(problems, lambda: stages.outbox_bodies(host), lambda path: _add_body(view.outbox, path))
    _tell(problems, lambda: archive.archive_files(host), lambda path: _add_archive(view.sent, path))
    _tell(problems, lambda: stages.rejected_bodies(host), lambda path: _add_body(view.rejected, path))
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
                problems.append(sentence(error, path))
    except (OSError, TelemetryError) as error:
        problems.append(sentence(error, None))


def _add_segment(amount: Spooled, path: Path) -> None:
    for piece in stages.read_segment(path):
        if isinstance(piece, scan.Record):
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
    amount.events += stages.count_events(body)
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
