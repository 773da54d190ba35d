"""The service on macOS: install, uninstall and state of the LaunchAgent.

A loaded agent keeps the text with which it was loaded. So a changed one is unloaded, and loaded again when
launchd has let it go.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flwr_telemetry import system
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...errors import ExitCode, ServiceError
from . import agent
from .agent import AGENT, LABEL
from .launchctl import Launchctl
from .machine import this_machine
from .unit import Author, Changes, check_ours, check_serves, read, write

if TYPE_CHECKING:
    from .status import ServiceStatus

NO_MANAGER = "launchd knows no session of this user; log in at the screen or by ssh (not by su or sudo)"

_ENDS_S = 20.0
"""Longer than launchd gives an agent for its end."""
_POLL_S = 0.1
_FINE = {ExitCode.OK, ExitCode.UNDELIVERED, ExitCode.DISABLED, ExitCode.BUSY}
"""The exit codes of a timer's run that are no failures, because all events are kept."""


def planned(home: Home, now: Settings, environ: Mapping[str, str], *, timer: bool) -> dict[str, str]:
    """The text that ``install`` would write, by its name."""
    return {AGENT: agent.render(this_machine(home, now, environ), timer=timer)}


def install(
    home: Home,
    now: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    is_old: Callable[[int | None], bool],
    *,
    timer: bool,
) -> Changes:
    """Write the agent and load it.

    Args:
        home: the home to serve; its directory exists.
        now: its settings; telemetry is on.
        environ: this process's variables.
        clock: time.
        is_old: whether the process of this number is one of another version of this package.
        timer: deliver now and then, without a process that stays.

    Raises:
        ServiceError: there is no session, or the agent is not ours to change. Nothing was changed.
        TelemetryError, OSError: the system refuses a step.
    """
    manager = Launchctl(environ)
    if not manager.domain:
        raise ServiceError(f"{NO_MANAGER}; no service is needed: the first event starts a sidecar")
    path = manager.agent_directory() / AGENT
    former = read(path)
    check_ours(path, agent.author(former))
    check_serves(path, agent.home_of(former), home)
    changes = Changes(path.parent, AGENT)
    (text,) = planned(home, now, environ, timer=timer).values()
    if write(path, text):
        changes.written.append(AGENT)
    job = manager.job()
    if job is not None and not changes.written and not is_old(job.pid):
        return changes
    _unload(manager, clock)
    manager.run("enable", manager.target)  # a user may have disabled it
    changes.complaint = manager.run("bootstrap", manager.domain, str(path))
    return changes


def _unload(manager: Launchctl, clock: Clock) -> None:
    """Unload the agent, and wait until it is gone: until then launchd refuses to load it again."""
    manager.run("bootout", manager.target)
    deadline = clock.monotonic() + _ENDS_S
    while manager.job() is not None and clock.monotonic() < deadline:
        clock.sleep(_POLL_S)


def uninstall(environ: Mapping[str, str], clock: Clock) -> Changes:
    """Unload and remove the agent; without a session, only remove the file."""
    manager = Launchctl(environ)
    path = manager.agent_directory() / AGENT
    changes = Changes(path.parent)
    found = agent.author(read(path))
    if found is Author.FOREIGN:
        changes.kept.append(f"{path} was not written by this command, and is left as it is")
    if found in {Author.FOREIGN, Author.NONE}:
        return changes
    if manager.domain:
        _unload(manager, clock)
    if found is Author.EDITED:
        changes.kept.append(f"{path} was edited since it was written; it is unloaded, but not removed")
    else:
        path.unlink(missing_ok=True)
        changes.removed.append(AGENT)
    return changes


def start_command(view: ServiceStatus) -> str:
    """The command by which a user starts the installed agent, also when it runs already."""
    domain = view.manager or f"gui/{system.user_id()}"
    if view.enabled:
        return f"launchctl kickstart -k {domain}/{LABEL}"
    return f"launchctl bootstrap {domain} {shlex.quote(view.unit or AGENT)}"


def served_home(environ: Mapping[str, str]) -> str | None:
    """The home that the installed agent serves."""
    return agent.home_of(read(Launchctl(environ).agent_directory() / AGENT))


def read_state(view: ServiceStatus, environ: Mapping[str, str]) -> str | None:
    """Find the agent and its process, and give its text."""
    manager = Launchctl(environ)
    path = manager.agent_directory() / AGENT
    view.manager = manager.domain
    text = read(path)
    if text is None:
        return None
    view.kind, view.unit = "timer" if agent.is_timer(text) else "service", str(path)
    view.author, view.interpreter = agent.author(text), agent.interpreter_of(text)
    view.home = agent.home_of(text) or view.home
    if view.interpreter and not os.access(view.interpreter, os.X_OK):
        view.problems.append(f"the agent runs {view.interpreter}, which is gone; install again")
    job = manager.job() if manager.domain else None
    if job is None:
        view.active = "inactive (not loaded)" if manager.domain else ""
        return text
    waits = view.kind == "timer" or job.pid is not None
    view.enabled, view.pid = "loaded", job.pid
    view.active = f"{'active' if waits else 'inactive'} ({job.state})"
    if job.exit_code is not None:
        fine = _FINE if view.kind == "timer" else {ExitCode.OK}
        view.result = "success" if job.exit_code in fine else f"exit code {job.exit_code}"
    return text
