"""How ``flwr-telemetry service`` tells people what was done, and how the service stands."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

from typing import TYPE_CHECKING

from .output import complain, console, ended, rows, say, size, span

if TYPE_CHECKING:
    from ..service.install import Installed
    from ..service.view import ServiceStatus

_LINGER_ADVICE = "It ends with your last session; to keep it, run `loginctl enable-linger`."
_NO_NAMESPACES = (
    "This machine refuses user namespaces: the service runs without a view of its own of files and devices."
)


def tell_installed(done: "Installed", view: "ServiceStatus", words: list[str]) -> None:
    """What was written, whether it serves, and if not, why: with the last words of the service."""
    out = console()
    for name in done.written:
        say(out, f"Wrote {done.directory / name}.")
    for name in done.removed:
        say(out, f"Removed {done.directory / name}.")
    if not view.namespaces:
        say(out, _NO_NAMESPACES)
    for word in done.kept:
        say(out, ended(word))
    if view.serves:
        does = "serves" if view.kind == "service" else "delivers now and then for"
        say(out, f"{done.unit} {does} {view.home}.", "bold")
        if not view.lingers:
            say(out, _LINGER_ADVICE)
        return
    state = done.complaint or f"systemd says {view.active or 'nothing'}"
    complain(f"{done.unit} does not serve: {ended(state)}")
    for problem in view.problems:
        complain(problem)
    for word in words:
        complain(f"  {word}")


def show(view: "ServiceStatus") -> None:
    """All that is known of it, and what is in the way."""
    out = console()
    if view.kind is None:
        say(out, "No service is installed; `flwr-telemetry service install` does that.", "bold")
    else:
        say(out, f"The {view.kind} {'serves' if view.serves else 'does not serve'} {view.home}.", "bold")
        say(out)
        rows(out, _rows(view))
    for host, age_s in sorted(view.heartbeats.items()):
        say(out, f"Heartbeat of {host}: {span(age_s)} ago.")
    if view.kind is not None and not view.lingers:
        say(out, _LINGER_ADVICE)
    for problem in view.problems:
        say(out, f"Problem: {ended(problem)}", "red")


def _rows(view: "ServiceStatus") -> dict[str, str]:
    table = {
        "Unit": f"{view.unit} ({view.author})",
        "State": f"{view.enabled}, {view.active}".strip(", "),
        "Last result" if view.kind == "timer" else "Result": view.result,
        "Last run" if view.kind == "timer" else "Since": view.since,
        "Process": "" if view.pid is None else str(view.pid),
        "Memory": "" if view.memory_bytes is None else size(view.memory_bytes),
        "Restarts": "" if not view.restarts else str(view.restarts),
        "Says": view.status,
        "Runs": view.interpreter,
        "On": ", ".join(view.hosts),
        "Namespaces": "" if view.namespaces else "refused by this machine; it runs without",
        "Linger": "on" if view.lingers else "off",
        "Last delivery": view.last_delivery or "never",
        "Last error": view.last_error or "",
    }
    return {name: value for name, value in table.items() if value}
