"""``flwr-telemetry status``: on or off and why, and what lies where."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
from typing import TYPE_CHECKING

from .output import (
    HomeOption,
    JsonOption,
    ago,
    console,
    ended,
    help_text,
    number,
    print_json,
    rows,
    say,
    say_consent,
    size,
    span,
    the_home,
)

if TYPE_CHECKING:
    from ..inspect.status import Bodies, HostView, ServiceView, Status

_MOST_HOSTS = 4
_MOST_ERRORS = 3
_OF_BODIES = ("events", "bodies", "bytes")

HELP = help_text("""Show whether telemetry is on and why, and what lies where.

It only looks: nothing is written, started or sent. The exit code is 0 whatever it finds.

\b
Examples:
  flwr-telemetry status
  flwr-telemetry status --json
  flwr-telemetry status --home /shared/alice/.flwr
""")


def status(*, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show the view, for people or for programs."""
    from ..inspect.status import read_status

    view = read_status(the_home(home, os.environ), os.environ)
    if json:
        print_json(view.public())
    else:
        _show(view)


def _show(view: "Status") -> None:
    out = console()
    say_consent(out, enabled=view.enabled, reason=view.reason, change=view.change)
    if not view.enabled and view.decided_by.isupper() and any(host.sidecar.alive for host in view.hosts):
        say(out, "That is so for what is started with it; a sidecar runs, and goes on until `disable`.")
    say(out)
    rows(
        out,
        {
            "Source ID": view.source or "none yet; the first event makes one",
            "Home": view.home,
            "Sent to": view.url or "unknown until the settings can be read",
        },
    )
    if view.services:
        rows(out, {"Service": "; ".join(map(_service, view.services))})
    shown = view.hosts if len(view.hosts) <= _MOST_HOSTS else [host for host in view.hosts if host.this_host]
    for host in shown:
        say(out)
        say(out, f"Host {host.host}{' (this one)' if host.this_host else ''}", "bold")
        rows(out, _host(host))
    if others := [host for host in view.hosts if host not in shown]:
        say(out)
        say(out, f"{len(others)} other hosts (each of them: --json)", "bold")
        rows(out, _sum(others))
    if not view.hosts and not view.problems:
        say(out)
        say(out, "Nothing was recorded here yet.")
    for problem in view.problems:
        say(out)
        say(out, f"Problem: {ended(problem)}", "red")


def _service(service: "ServiceView") -> str:
    told = f"last sign of life {span(service.age_s)} ago"
    return f"{service.host}, {told}" + ("" if service.fresh else ": it cannot deliver, or was killed")


def _sum(hosts: "list[HostView]") -> dict[str, str]:
    """What lies on so many hosts that nobody would read them one by one."""

    def bodies(name: str) -> str:
        found: list[Bodies] = [getattr(host, name) for host in hosts]
        events, count, of_bytes = (sum(getattr(one, item) for one in found) for item in _OF_BODIES)
        return f"{number(events, 'event')} in {number(count, 'body', 'bodies')}, {size(of_bytes)}"

    spooled = sum(host.spool.events for host in hosts)
    running = sum(bool(host.sidecar.alive) for host in hosts)
    table = {
        "Sidecars": f"{running} of them run one",
        "Spools": f"{number(spooled, 'event')} on {sum(bool(host.spool.bytes) for host in hosts)} of them",
        "Outboxes": bodies("outbox"),
        "Sent": bodies("sent"),
        "Rejected": bodies("rejected"),
    }
    errors = list(dict.fromkeys(host.last_error for host in hosts if host.last_error))
    if errors:
        table["Last errors"] = "; ".join(errors[:_MOST_ERRORS])
    return table


def _host(host: "HostView") -> dict[str, str]:
    counters = host.counters
    table = {
        "Sidecar": _sidecar(host),
        "Spool": f"{number(host.spool.events, 'event')}, {size(host.spool.bytes)}"
        if host.spool.bytes
        else "empty",
        "Outbox": _bodies(host.outbox),
        "Sent": _bodies(host.sent),
        "Rejected": _bodies(host.rejected),
        "Counters": f"damaged {counters.damaged}, dropped {counters.dropped}, "
        f"rejected {counters.rejected}, retried {counters.retried}",
        "Last delivery": ago(host.last_delivery) if host.last_delivery else "never",
    }
    if host.retry_after_s:
        table["Next try"] = f"not within {span(host.retry_after_s)}: the collector asked for that"
    elif host.next_try:
        table["Next try"] = _next_try(host)
    if host.last_error:
        table["Last error"] = host.last_error
    return table


def _sidecar(host: "HostView") -> str:
    view = host.sidecar
    if view.alive:
        if view.pid is None or view.ended:
            return "runs (just started)"
        return f"runs: process {view.pid}, {view.mode}, started {ago(view.started)}"
    if view.alive is None:
        return "cannot be told: its lock cannot be opened"
    if not view.ended:
        return "does not run" + (" (the last one was killed)" if view.pid else "")
    moment, _, why = view.ended.partition(" ")
    return f"does not run (the last one ended {ago(moment)}: {why})"


def _next_try(host: "HostView") -> str:
    if not host.sidecar.alive:
        return "with the next event, `flwr-telemetry flush` or a service"
    when = ago(host.next_try or "")
    return "now" if when.endswith("ago") else when


def _bodies(amount: "Bodies") -> str:
    if not amount.bodies:
        return "empty"
    bodies = number(amount.bodies, "body", "bodies")
    return f"{number(amount.events, 'event')} in {bodies}, {size(amount.bytes)}"
