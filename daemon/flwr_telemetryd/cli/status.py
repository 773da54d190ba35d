"""``flwr-telemetry status``: whether telemetry is on and why, what waits, and what was sent."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from typing import TYPE_CHECKING

from flwr_telemetry.layout import GONE_HOSTS

from . import output
from .output import HomeOption, JsonOption, number

if TYPE_CHECKING:
    from flwr_telemetry.layout import Home

    from ..inspect.status import Bodies, HostView, ServiceView, Status

_UNKNOWN = "unknown until the settings can be read"
_CHART_DAYS = 14
_MOST_HOSTS = 4
_MOST_SETTINGS = 3
_MOST_ERRORS = 3


def status(*, home: HomeOption = None, json: JsonOption = False) -> None:
    r"""Show whether telemetry is on and why, what waits, and what was sent.

    This only reads: no file is written, no process started, no event sent.

    \b
    Exit codes:
      0  always, except for
      5  the file server of the home does not answer

    \b
    Examples:
      flwr-telemetry status
      flwr-telemetry status --json
      flwr-telemetry status --home /shared/alice/.flwr
    """
    from ..inspect.status import read_status

    found = output.find_home(home)
    view = read_status(found, os.environ)
    if home is not None and not found.path.exists():
        view.problems.insert(0, f"{found.path} does not exist, so nothing was recorded there")
    output.answer(view.public(), lambda: _show(view, found), as_json=json)


def _show(view: "Status", home: "Home") -> None:
    output.say_consent(enabled=view.enabled, reason=view.reason, change=view.change)
    if not view.enabled and view.decided_by.isupper() and any(host.sidecar.alive for host in view.hosts):
        output.say("The variable reaches only new processes. A sidecar runs, and goes on until `disable`.")
    output.say_flower(view.flower)
    output.say()
    manner = f" ({view.manner})" if view.manner else ""
    table = {
        "Source ID": view.source or "none yet; the first event makes one",
        "Home": view.home,
        "Directory": f"{view.directory}, because {view.directory_reason}" if view.directory_reason else "",
        "Sent to": f"nowhere: {view.kept_by}" if view.kept_by else f"{view.url or _UNKNOWN}{manner}",
        "Service": "; ".join(map(_service, view.services)),
        "Settings": _settings(home),
        "New fields": f"{', '.join(view.new_fields)}; why: `flwr-telemetry fields --new`"
        * bool(view.new_fields),
    }
    output.rows(table)
    hosts = [host for host in view.hosts if host.host != GONE_HOSTS]
    shown = hosts if len(hosts) <= _MOST_HOSTS else [host for host in hosts if host.this_host]
    for host in shown:
        _section(f"Host {host.host}{' (this one)' if host.this_host else ''}", _host(host))
    for gone in view.hosts:
        if gone not in hosts:
            _section("Hosts that are gone", {"Sent": _bodies(gone.sent), "Rejected": _bodies(gone.rejected)})
    if others := [host for host in hosts if host not in shown]:
        _section(f"{len(others)} other hosts (each of them: --json)", _sum(others))
    if chart := _chart(view):
        _section(f"Sent in the last {_CHART_DAYS} days", chart)
    if not view.hosts and not view.problems:
        output.say("\nNothing was recorded here yet.")
    for problem in view.problems:
        output.say(f"\nProblem: {output.ended(problem)}", "red")


def _chart(view: "Status") -> dict[str, str]:
    """A column for each of the last days, for events and for requests; nothing if nothing was sent."""
    from datetime import UTC, datetime, timedelta

    today = datetime.now(UTC).date()
    dates = [f"{today - timedelta(days=ago)}" for ago in reversed(range(_CHART_DAYS))]
    sums = [[host.days[date] for host in view.hosts if date in host.days] for date in dates]
    found = {
        "Events": [sum(day.events for day in days) for days in sums],
        "Requests": [sum(day.bodies for day in days) for days in sums],
    }
    if not any(found["Events"]):
        return {}
    return {
        name: f"{output.columns(counts)}  {sum(counts)}, at most {max(counts)} a day"
        for name, counts in found.items()
    }


def _settings(home: "Home") -> str:
    """The settings that are not the default, each with the file or variable that decides it."""
    from flwr_telemetry.errors import SettingsError

    from ..admin.config import explain

    try:
        changed = [setting for setting in explain(home, os.environ) if setting.decided_by != "default"]
    except SettingsError:
        return ""  # the reason why telemetry is off says it
    shown = [f"{setting.name} by {setting.decided_by}" for setting in changed[:_MOST_SETTINGS]]
    more = [f"{len(changed) - len(shown)} more: `flwr-telemetry config list`"] * (len(changed) > len(shown))
    return "; ".join([*shown, *more])


def _section(title: str, table: dict[str, str]) -> None:
    output.say(f"\n{title}", "bold")
    output.rows(table)


def _service(service: "ServiceView") -> str:
    shown = f"{service.host}, last sign of life {output.span(service.age_s)} ago"
    return shown if service.fresh else f"{shown}: it cannot deliver, or was killed"


def _sum(hosts: "list[HostView]") -> dict[str, str]:
    """The sums over hosts that are too many to show one by one."""
    from ..inspect.status import Bodies, totals

    sums = totals(hosts)
    running = sum(bool(host.sidecar.alive) for host in hosts)
    spooling = sum(bool(host.spool.bytes) for host in hosts)
    errors = dict.fromkeys(host.last_error for host in hosts if host.last_error)
    return {
        "Sidecars": f"running on {running} of them",
        "Spools": f"{number(sums['spool']['events'], 'event')} on {spooling} of them",
        "Outboxes": _bodies(Bodies(**sums["outbox"])),
        "Sent": _bodies(Bodies(**sums["sent"])),
        "Rejected": _bodies(Bodies(**sums["rejected"])),
        "Last errors": "; ".join([*errors][:_MOST_ERRORS]),
    }


def _host(host: "HostView") -> dict[str, str]:
    counters, spool = host.counters, host.spool
    return {
        "Sidecar": _sidecar(host),
        "Spool": f"{number(spool.events, 'event')}, {output.size(spool.bytes)}" if spool.bytes else "empty",
        "Outbox": _bodies(host.outbox),
        "Sent": _bodies(host.sent),
        "Rejected": _bodies(host.rejected) + (f"; last: {host.last_refusal}" if host.last_refusal else ""),
        "Counters": f"damaged {counters.damaged}, dropped {counters.dropped}, "
        f"rejected {counters.rejected}, retried {counters.retried}",
        "Last delivery": output.ago(host.last_delivery) if host.last_delivery else "never",
        "Next try": _next_try(host),
        "Last error": host.last_error or "",
    }


def _sidecar(host: "HostView") -> str:
    view = host.sidecar
    if view.alive:
        if view.pid is None or view.ended:
            return "runs (just started)"
        return f"runs: process {view.pid}, {view.mode}, started {output.ago(view.started)}"
    if view.alive is None:
        return "unknown: its lock cannot be opened"
    if not view.ended:
        return "does not run" + (" (the last one was killed)" if view.pid else "")
    moment, _, reason = view.ended.partition(" ")
    return f"does not run (the last one ended {output.ago(moment)}: {reason})"


def _next_try(host: "HostView") -> str:
    if host.retry_after_s:
        return f"not within {output.span(host.retry_after_s)}: the collector asked for that"
    if host.next_try and not host.sidecar.alive:
        return "with the next event, `flwr-telemetry flush` or a service"
    when = output.ago(host.next_try) if host.next_try else ""
    return "now" if when.endswith("ago") else when


def _bodies(found: "Bodies") -> str:
    if not found.bodies:
        return "empty"
    bodies = number(found.bodies, "body", "bodies")
    return f"{number(found.events, 'event')} in {bodies}, {output.size(found.bytes)}"
