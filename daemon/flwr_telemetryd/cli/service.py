"""``flwr-telemetry service``: the sidecar as a service of the user's systemd."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from flwr_telemetry import system

from ..errors import ExitCode, ServiceError
from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from ..admin.service.status import ServiceStatus
    from ..admin.service.unit import Changes

_JOURNAL_LINES = 5
_LINGER_ADVICE = "It ends with your last session; to keep it, run `loginctl enable-linger`."

app = typer.Typer(cls=output.Group, no_args_is_help=True)


def service() -> None:
    r"""Let a service deliver: on a login node, for all hosts that share your home.

    While it serves, no process on any of these hosts starts a sidecar of its own. On Windows there is none;
    `service install` names a line for the Task Scheduler.

    \b
    Examples:
      flwr-telemetry service install
      flwr-telemetry service status
      flwr-telemetry service logs -f
      flwr-telemetry service uninstall
    """
    if system.WINDOWS:
        import click

        # pythonw, because a program for the console opens a window each time. The Task Scheduler makes double
        # quotes of the single ones, so both cmd and PowerShell take the line as it stands.
        program = Path(sys.executable).with_name("pythonw.exe")
        raise click.UsageError(
            "There is no service on Windows, and none is needed: the first event starts a sidecar. To "
            "deliver at fixed times, too, let the Task Scheduler do it: schtasks /Create /TN flwr-telemetry "
            f"/SC MINUTE /MO 15 /TR \"'{program}' -P -m flwr_telemetryd --once\""
        )


def install(
    *,
    timer: Annotated[bool, Option("--timer", help="No daemon: deliver now and then, by a timer.")] = False,
    only_print: Annotated[bool, Option("--print", help="Only print what would be written.")] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> int:
    r"""Install the service, start it, and wait until it serves.

    This writes a unit of systemd into ~/.config/systemd/user. The unit runs this Python for this home, on
    this host and on the hosts where it was installed before. It starts with your first session, or with
    the machine after `loginctl enable-linger`.

    On macOS it is an agent of launchd in ~/Library/LaunchAgents, for your own login there.

    To change a setting, use `systemctl --user edit flwr-telemetryd`. A unit that you edited yourself, or
    that serves another home, is not overwritten. Install again after an upgrade: the unit is brought up to
    date, and a process of an older version is restarted.

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
      flwr-telemetry service install --print
    """
    from flwr_telemetry import settings

    from ..admin import switch
    from ..admin.service import install as installation
    from ..admin.service.status import service_status, wait_until_settled
    from ..admin.service.systemctl import Systemctl
    from ..clock import Clock
    from ..inspect import problems

    found = output.find_home(home)
    switch.check_owner(found)
    now = settings.load(found, os.environ)
    if not now.consent.enabled:
        reason = output.ended(now.consent.reason)
        told = f"telemetry is off: {reason} {problems.how_to_change(now.consent)}"
        output.answer({"serves": False, "error": told}, lambda: None, as_json=json)
        output.complain(told)
        return ExitCode.DISABLED
    if only_print:
        units = installation.planned(found, now, os.environ, timer=timer)
        output.answer(units, lambda: _print_units(units), as_json=json)
        return ExitCode.OK
    clock = Clock()
    try:
        with output.working("Installing"):
            changes = installation.install(found, now, os.environ, clock, timer=timer)
            if changes.complaint:
                view = service_status(found, os.environ)
            else:
                view = wait_until_settled(found, os.environ, clock)
    except ServiceError as error:
        output.answer({"serves": False, "error": str(error)}, lambda: None, as_json=json)
        raise
    journal = [] if view.serves else Systemctl(os.environ).journal(changes.unit, _JOURNAL_LINES)
    files = {"written": changes.written, "removed": changes.removed, "kept": changes.kept}
    public = {**asdict(view), **files, "said": journal}
    output.answer(public, lambda: _tell_installed(changes, view, journal), as_json=json)
    return ExitCode.OK if view.serves else ExitCode.UNDELIVERED


def _print_units(units: dict[str, str]) -> None:
    for name, text in units.items():
        sys.stdout.write(f"# {name}\n{text}")


def uninstall(*, json: JsonOption = False) -> None:
    r"""Stop the service and remove it.

    Telemetry itself stays on or off: where it is allowed, the next event starts a sidecar again.

    \b
    Exit codes:
      0  no file that an install wrote is left
      5  something could not be removed

    \b
    Examples:
      flwr-telemetry service uninstall
      flwr-telemetry service uninstall --json
    """
    from ..admin.service import install as installation

    changes = installation.uninstall(os.environ)
    public = {"directory": str(changes.directory), "removed": changes.removed, "kept": changes.kept}
    output.answer(public, lambda: _tell_changes(changes, "No service is installed."), as_json=json)


def status(*, json: JsonOption = False, home: HomeOption = None) -> int:
    r"""Show whether the service serves, and its problems.

    \b
    Exit codes:
      0  it serves
      1  it does not

    \b
    Examples:
      flwr-telemetry service status
      flwr-telemetry service status --json
    """
    from ..admin.service.status import service_status

    view = service_status(output.find_home(home), os.environ)
    output.answer(asdict(view), lambda: _show(view), as_json=json)
    return ExitCode.OK if view.serves else ExitCode.UNDELIVERED


def logs(
    *,
    lines: Annotated[int, Option("-n", "--lines", min=0, help="How many lines.")] = 50,
    follow: Annotated[bool, Option("-f", "--follow", help="Go on with new lines.")] = False,
    home: HomeOption = None,
) -> None:
    r"""Show the log of the service.

    It comes from the journal. If the journal shows you nothing, it comes from the sidecar's own log file
    on this host.

    \b
    Exit codes: those of the program that shows it, or
      1  there is no log

    \b
    Examples:
      flwr-telemetry service logs
      flwr-telemetry service logs -n 200
      flwr-telemetry service logs -f
    """
    from ..admin.service.status import find_log

    source, command = find_log(output.find_home(home), os.environ, lines=lines, follow=follow)
    output.say(f"From {source}:", "dim", to_stderr=True)
    os.execvp(command[0], command)  # noqa: S606 - a program of our choice


def epilog() -> None:
    r"""Print the epilog for Slurm, with the path of this installation's sidecar in it.

    It delivers after each job, on nodes that can reach the collector. Install into an environment that all
    users can read and only root can write to.

    \b
    Examples:
      flwr-telemetry service epilog > /etc/slurm/flwr-telemetry-epilog.sh
    """
    from ..admin.service.unit import epilog as text

    sys.stdout.write(text(Path(sys.executable).with_name("flwr-telemetryd")))


def _tell_changes(changes: "Changes", otherwise: str = "") -> None:
    told = [f"Wrote {changes.directory / name}." for name in changes.written]
    told += [f"Removed {changes.directory / name}." for name in changes.removed]
    told += map(output.ended, changes.kept)
    for line in told or filter(None, [otherwise]):
        output.say(line)


def _tell_installed(changes: "Changes", view: "ServiceStatus", journal: list[str]) -> None:
    _tell_changes(changes)
    if not view.namespaces:
        output.say("This machine refuses user namespaces, so the service has no private view of the files.")
    if view.refused:
        output.say(f"This machine cannot keep these settings of the unit: {', '.join(view.refused)}.")
        for name, reason in view.refused.items():
            output.say(f"  {name}: {reason}", "dim")
        output.say(f"All others stay{_rating(view)}.")
    if view.serves:
        delivers = "serves" if view.kind == "service" else "delivers now and then for"
        output.say(f"{changes.unit} {delivers} {view.home}.", "bold")
        if not (view.lingers or view.is_agent):
            output.say(_LINGER_ADVICE)
        return
    manager = "launchd" if view.is_agent else "systemd"
    reason = changes.complaint or f"{manager} says {view.active or 'nothing'}"
    output.complain(f"{changes.unit} does not serve: {output.ended(reason)}")
    output.complain(*view.problems, *(f"  {line}" for line in journal))


def _rating(view: "ServiceStatus") -> str:
    """The ratings of systemd, as the end of a sentence."""
    if view.exposure is None:
        return ""
    return (
        f"; `systemd-analyze --user security` rates the exposure {view.exposure.now} of 10 "
        f"(with all settings: {view.exposure.with_all})"
    )


def _show(view: "ServiceStatus") -> None:
    if view.kind is None:
        output.say("No service is installed; `flwr-telemetry service install` installs it.", "bold")
    else:
        serves = "serves" if view.serves else "does not serve"
        output.say(f"The {view.kind} {serves} {view.home}.\n", "bold")
        output.rows(_rows(view))
    for host, age_s in sorted(view.heartbeats.items()):
        output.say(f"Last sign of life of {host}: {output.span(age_s)} ago.")
    if view.kind is not None and not (view.lingers or view.is_agent):
        output.say(_LINGER_ADVICE)
    for problem in view.problems:
        output.say(f"Problem: {output.ended(problem)}", "red")


def _rows(view: "ServiceStatus") -> dict[str, str]:
    return {
        "Unit": f"{view.unit} ({view.author})",
        "State": f"{view.enabled}, {view.active}".strip(", "),
        "Last result" if view.kind == "timer" else "Result": view.result,
        "Last run" if view.kind == "timer" else "Since": view.since,
        "Process": str(view.pid or ""),
        "Memory": "" if view.memory_bytes is None else output.size(view.memory_bytes),
        "Restarts": str(view.restarts or ""),
        "Status": view.status,
        "Python": view.interpreter,
        "Hosts": ", ".join(view.hosts),
        "Namespaces": "" if view.namespaces else "refused by this machine; it runs without them",
        "Protection": f"without {', '.join(view.refused)}{_rating(view)}" if view.refused else "",
        "Linger": "" if view.is_agent else "on" if view.lingers else "off",
        "Last delivery": view.last_delivery or "never",
        "Last error": view.last_error or "",
    }


output.register_group(app, service)
for command in (install, uninstall, status, logs):
    output.register(app.command, command)
output.register(app.command, epilog)
