"""``flwr-telemetry service``: the sidecar as a service of this user's systemd."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ExitCode, ServiceError
from .output import HomeOption, JsonOption, complain, console, ended, help_text, print_json, say, the_home

if TYPE_CHECKING:
    from ..admin.service.status import ServiceStatus
from typing import TYPE_CHECKING

from .output import rows, size, span

if TYPE_CHECKING:
    from ..admin.service.install import Installed
    from ..admin.service.status import ServiceStatus


HELP = help_text("""Let a service of yours deliver: on a login node, for all hosts that share your home.

While it serves, no process on any of these hosts starts a sidecar of its own.

\b
Examples:
  flwr-telemetry service install
  flwr-telemetry service status
  flwr-telemetry service logs -f
  flwr-telemetry service uninstall
""")


INSTALL_HELP = help_text("""Put the service in place, start it, and wait until it serves.

It writes a unit of systemd into ~/.config/systemd/user that runs this very Python for this very home, on
this machine and on those where it was installed before. It starts with your first session, or with the
machine after `loginctl enable-linger`. To change something, use `systemctl --user edit flwr-telemetryd`: a
unit that somebody edited is never written over, and nor is one that serves another home. Installing again
brings all up to date, a process of an older version too; what is in place already stays as it is.

\b
Exit codes:
  0  it serves
  1  it could not be installed, or does not serve yet; the answer says why
  3  telemetry is off, and nothing was installed
  5  the home cannot be used

\b
Examples:
  flwr-telemetry service install
  flwr-telemetry service install --timer     deliver every quarter of an hour, without a daemon
  flwr-telemetry service install --home /scratch/alice/.flwr
""")


UNINSTALL_HELP = help_text("""Stop the service and take it away.

Telemetry itself stays as it was: the next event starts a sidecar again where that is allowed.

\b
Exit codes:
  0  none of what we wrote is left
  5  something could not be removed

\b
Examples:
  flwr-telemetry service uninstall
  flwr-telemetry service uninstall --json
""")


STATUS_HELP = help_text("""Show whether the service serves, and what is in the way.

\b
Exit codes:
  0  it serves
  1  it does not

\b
Examples:
  flwr-telemetry service status
  flwr-telemetry service status --json
""")


LOGS_HELP = help_text("""Show what the service said.

From the journal; where that shows you nothing, from the sidecar's own file on this host.

\b
Exit codes: those of the program that shows it, or
  1  there is nothing to show

\b
Examples:
  flwr-telemetry service logs
  flwr-telemetry service logs -n 200
  flwr-telemetry service logs -f
""")


_LAST_WORDS = 5


app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command("install", help=INSTALL_HELP)
def install(
    *,
    timer: Annotated[
        bool, typer.Option("--timer", help="No daemon: deliver now and then, by a timer.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Install, wait until it serves, and tell."""
    from flwr_telemetry import settings

    from ..admin import switch
    from ..admin.service.install import install as put_in_place
    from ..admin.service.status import wait
    from ..clock import Clock
    from ..inspect import problems

    found = the_home(home, os.environ)
    switch.check_owner(found)
    now = settings.load(found, os.environ)
    if not now.consent.enabled:
        complain(f"telemetry is off: {ended(now.consent.reason)} {problems.how_to_change(now.consent)}")
        raise typer.Exit(ExitCode.DISABLED)
    os.umask(0o077)
    clock = Clock()
    try:
        done = put_in_place(found, now, os.environ, clock, timer=timer)
    except ServiceError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.UNDELIVERED) from None
    view = wait(found, os.environ, clock, hopeless=bool(done.complaint))
    words = [] if view.serves else _last_words(view)
    if json:
        print_json(
            {
                **view.public(),
                "written": done.written,
                "removed": done.removed,
                "kept": done.kept,
                "said": words,
            }
        )
    else:
        tell_installed(done, view, words)
    if not view.serves:
        raise typer.Exit(ExitCode.UNDELIVERED)


@app.command("uninstall", help=UNINSTALL_HELP)
def uninstall(*, json: JsonOption = False) -> None:
    """Stop, disable, remove; tell what stays."""
    from ..admin.service.install import uninstall as take_away

    done = take_away(os.environ)
    if json:
        print_json({"directory": str(done.directory), "removed": done.names, "kept": done.kept})
        return
    out = console()
    for name in done.names:
        say(out, f"Removed {done.directory / name}.")
    for word in done.kept:
        say(out, ended(word))
    if not done.names and not done.kept:
        say(out, "No service is installed.")


@app.command("status", help=STATUS_HELP)
def status(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the view, for people or for programs."""
    from ..admin.service.status import look

    view = look(the_home(home, os.environ), os.environ)
    if json:
        print_json(view.public())
    else:
        show(view)
    if not view.serves:
        raise typer.Exit(ExitCode.UNDELIVERED)


@app.command("logs", help=LOGS_HELP)
def logs(
    *,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
    home: HomeOption = None,
) -> None:
    """Become the program that shows it."""
    from ..admin.service.status import find

    try:
        log = find(the_home(home, os.environ), os.environ, lines=lines, follow=follow)
    except ServiceError as error:
        complain(str(error))
        raise typer.Exit(ExitCode.UNDELIVERED) from None
    say(console(to_stderr=True), f"From {log.words}:", "dim")
    os.execvp(log.command[0], log.command)  # noqa: S606 - a program of our choice


def _last_words(view: "ServiceStatus") -> list[str]:
    from ..admin.service.systemctl import Systemctl

    return Systemctl(os.environ).last_words(Path(view.unit).name, _LAST_WORDS) if view.unit else []


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
