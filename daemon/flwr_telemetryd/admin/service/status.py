"""The state of the service: its unit, its process and its home; waiting until it serves; its log.

This module only reads.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import presence, settings, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.machine import own_host
from flwr_telemetry.settings import Settings
from flwr_telemetry.version import __version__

from ...clock import Clock
from ...errors import ServiceError, describe
from ...inspect import file_server, problems
from ...outbox.backlog import bodies_wait
from ...state import State
from . import launchd
from .agent import AGENT
from .machine import sink_directory, this_host, this_machine
from .protection import Exposure, exposure_in, refused_in
from .systemctl import UP, Systemctl, lingers
from .unit import (
    DELIVERS,
    ONCE,
    SERVICE,
    TIMER,
    Author,
    allows,
    author,
    drop_in,
    hosts_of,
    note_of,
    read,
    render,
    sealed,
    shipped,
)

NO_MANAGER = "this user has no running systemd here; log in by ssh or console (not by su or sudo)"

SERVES_S = 20.0
"""Seconds that a new process has until it serves."""

FAILS_S = 3.0
"""Seconds that an old error counts for nothing, because the new process has not tried yet."""

_POLL_S = 0.1
_MOST_BYTES = 2**63
_PROPERTIES = (
    "ActiveState SubState Result MainPID ExecMainStatus NRestarts MemoryCurrent ActiveEnterTimestamp "
    "StatusText UnitFileState ExecMainExitTimestamp".split()
)


@dataclass(slots=True)
class ServiceStatus:
    """The state of the service, with the names of ``service status --json``."""

    serves: bool = False
    """Whether it delivers the events of this home."""

    kind: str | None = None
    """``service`` or ``timer``; None if none is installed."""

    unit: str | None = None
    """Path of the enabled unit."""

    author: Author = Author.NONE
    """The last author of the unit."""

    current: bool = False
    """Whether an install would write the same unit."""

    home: str = ""
    """The home that it serves."""

    interpreter: str = ""
    """The Python that it runs."""

    hosts: list[str] = field(default_factory=list)
    """The hosts on which it runs; empty if it runs on every host that sees its unit."""

    namespaces: bool = True
    """False if it runs without namespaces of its own."""

    refused: dict[str, str] = field(default_factory=dict)
    """Settings of the unit that this machine cannot keep, each with the reason."""

    exposure: Exposure | None = None
    """Ratings by ``systemd-analyze security``; None if all settings are kept, or nothing rates them."""

    manager: str = ""
    """State of the user's manager; empty if none answers."""

    enabled: str = ""
    """``UnitFileState`` of systemd."""

    active: str = ""
    """``ActiveState`` and ``SubState``, for example ``active (running)``."""

    result: str = ""
    """``Result`` of systemd."""

    since: str = ""
    """Start of the service, or end of the last run of a timer, as systemd writes it."""

    status: str = ""
    """Last status message of the process."""

    pid: int | None = None
    restarts: int | None = None
    memory_bytes: int | None = None

    lingers: bool = False
    """Whether it goes on after the last session."""

    heartbeats: dict[str, float] = field(default_factory=dict)
    """Age in seconds of each service of this home by host, by the time of the file system."""

    last_delivery: str | None = None
    last_error: str | None = None
    """Time and message from this host's sidecar."""

    fails: bool = False
    """Whether a body waits on this host whose last delivery failed."""

    problems: list[str] = field(default_factory=list)
    """One sentence each."""

    @property
    def is_for_here(self) -> bool:
        """Whether it would run on this host."""
        return not self.hosts or this_host().lower() in map(str.lower, self.hosts)

    @property
    def is_agent(self) -> bool:
        """Whether the unit is a LaunchAgent of macOS."""
        return self.unit_name == AGENT

    @property
    def start_command(self) -> str:
        """The command by which a user starts the installed unit."""
        if not self.is_agent:
            return f"systemctl --user start {self.unit_name}"
        return launchd.start_command(self)

    @property
    def unit_name(self) -> str:
        """Name of the enabled unit; empty if none is installed."""
        return os.path.basename(self.unit or "")


def service_status(home: Home, environ: Mapping[str, str]) -> ServiceStatus:
    """The state of the service now.

    Args:
        home: the home to serve, unless the installed unit names another.
        environ: this process's variables.

    Raises:
        UnusableHomeError: the file server of that other home does not answer. Nothing else of this machine or
            of a home is an error.
    """
    view = ServiceStatus(home=str(home.path))
    manager = None if system.MACOS else Systemctl(environ)
    if manager is None:
        text = launchd.read_state(view, environ)
    else:
        state = manager.state()
        view.manager = state if state in UP else ""
        text = _read_unit(view, manager.unit_directory())
    served = Home(Path(view.home))
    if served != home:
        file_server.check(served.path)
    now = settings.load(served, None)
    if manager is None:
        timer = view.kind == "timer"
        view.current = text in launchd.planned(served, now, environ, timer=timer).values()
    else:
        if text is not None:
            _read_text(view, text, served, now, environ)
        if view.manager and view.kind:
            _read_process(view, manager)
        view.lingers = lingers(environ)
    _read_home(view, served, now)
    view.problems += _problems(view, served, now)
    view.serves = _serves(view, served, now)
    return view


def _read_unit(view: ServiceStatus, directory: Path) -> str | None:
    """Find the enabled unit, and give the text of the unit that delivers."""
    for kind, name in (("service", SERVICE), ("timer", TIMER)):
        if (text := read(directory / name)) is None:
            continue
        delivers = DELIVERS[name]
        view.kind, view.unit = kind, str(directory / name)
        view.author = author(text)
        view.hosts = hosts_of(text)
        dropped = read(directory / drop_in(delivers))
        view.refused, view.exposure = refused_in(dropped), exposure_in(dropped)
        view.namespaces = "PrivateUsers" not in view.refused
        found = read(directory / delivers)
        view.home = note_of(found or "").get("home", view.home)
        if view.author is Author.OURS and found is not None:
            view.author = author(found)
        return found
    return None


def _read_text(view: ServiceStatus, text: str, home: Home, now: Settings, environ: Mapping[str, str]) -> None:
    view.interpreter = note_of(text).get("interpreter", "")
    if view.interpreter and not os.access(view.interpreter, os.X_OK):
        view.problems.append(f"the unit runs {view.interpreter}, which is gone; install again")
    sink = sink_directory(now)
    if sink is not None and view.author is not Author.FOREIGN and not allows(text, sink):
        view.problems.append(
            f"url names a file in {sink}, but the unit does not allow writing there; install again"
        )
    with contextlib.suppress(ServiceError, OSError):
        unit = render(shipped(DELIVERS[view.unit_name]), this_machine(home, now, environ), view.hosts)
        view.current = text == sealed(unit)


def _read_process(view: ServiceStatus, manager: Systemctl) -> None:
    found = manager.show(view.unit_name, *_PROPERTIES)
    view.enabled = found.get("UnitFileState", "")
    view.active = f"{found.get('ActiveState', '')} ({found.get('SubState', '')})"
    view.since = found.get("ActiveEnterTimestamp", "")
    if view.kind == "timer":
        found = manager.show(ONCE, *_PROPERTIES)
        view.since = found.get("ExecMainExitTimestamp", "")
    view.result = found.get("Result", "")
    view.status = found.get("StatusText", "")
    view.pid = _number(found.get("MainPID")) or None
    view.restarts = _number(found.get("NRestarts"))
    view.memory_bytes = _number(found.get("MemoryCurrent"))
    if view.pid is not None and view.memory_bytes is None:
        # psutil raises many things where /proc is hidden.
        with contextlib.suppress(Exception):
            import psutil

            view.memory_bytes = psutil.Process(view.pid).memory_info().rss
        if not system.exists(view.pid):
            view.pid = None


def _number(text: str | None) -> int | None:
    """A number of systemd; None for the words and the huge number by which it says "unknown"."""
    found = re.fullmatch(r"\d+", text or "")
    return int(found[0]) if found and int(found[0]) < _MOST_BYTES else None


def _read_home(view: ServiceStatus, home: Home, now: Settings) -> None:
    if not now.consent.enabled or not problems.can_be_read(home):
        return
    own = own_host(home)
    state = State.load(own)
    view.last_delivery, view.last_error = state.last_delivery or None, state.last_error or None
    try:
        view.fails = bool(state.last_error) and bodies_wait(own)
        ages = presence.heartbeats(home, lambda: presence.file_system_now(home.telemetry))
        view.heartbeats = {host: round(age_s, 1) for host, age_s in ages.items()}
    except (OSError, TelemetryError) as error:
        view.problems.append(describe(error, home.telemetry))


def _problems(view: ServiceStatus, home: Home, now: Settings) -> Iterator[str]:
    if not now.consent.enabled:
        yield f"telemetry is off: {now.consent.reason}"
    yield from problems.unsafe(home)
    if view.kind is None:
        return
    if not view.is_for_here:
        hosts = ", ".join(view.hosts)
        yield f"it runs on {hosts}, and not here; `flwr-telemetry service install` adds this host"
    elif now.consent.enabled and view.manager and not view.active.startswith("active"):
        yield f"it does not run; `{view.start_command}` starts it"
    if view.interpreter == sys.executable and (former := former_version(home, view.pid)) is not None:
        restart = view.start_command.replace(" start ", " restart ")
        yield (
            f"it still runs version {former} and not {__version__}; installing again restarts it, "
            f"and so does `{restart}`"
        )
    if view.fails:
        yield f"waiting events cannot be delivered now, and are kept: {view.last_error}"
    if not view.manager:
        yield launchd.NO_MANAGER if view.is_agent else NO_MANAGER
    if view.author is Author.FOREIGN:
        yield f"{view.unit} was not written by `flwr-telemetry service install`"
    elif view.author is Author.OURS and not view.current and view.is_for_here:
        yield "the unit is out of date, because a value that it depends on has changed; install again"


def _serves(view: ServiceStatus, home: Home, now: Settings) -> bool:
    if not now.consent.enabled or not view.active.startswith("active") or view.fails:
        return False
    if view.kind == "timer":
        return view.result == "success"
    return view.heartbeats.get(own_host(home).name, math.inf) < presence.HEARTBEAT_FRESH_S


def former_version(home: Home, pid: int | None) -> str | None:
    """The version of a running service if it is not the installed version; else None.

    Args:
        home: the home that it serves.
        pid: its main process. The state file of any other process is ignored.
    """
    state = State.load(own_host(home))
    return state.version if state.pid == pid and state.version != __version__ else None


def wait_until_settled(home: Home, environ: Mapping[str, str], clock: Clock) -> ServiceStatus:
    """The state once the service serves or has failed, or after ``SERVES_S``."""
    start = clock.monotonic()
    while True:
        view = service_status(home, environ)
        settled = view.serves or view.active.startswith(("failed", "inactive"))
        if settled or clock.monotonic() - start >= (FAILS_S if view.fails else SERVES_S):
            return view
        clock.sleep(_POLL_S)


def find_log(home: Home, environ: Mapping[str, str], *, lines: int, follow: bool) -> tuple[str, list[str]]:
    """The journal if it has entries that this user may read, else the log file of this host's sidecar.

    Returns:
        ``the journal`` or the path of the file, and the program that prints it, with its arguments.

    Raises:
        ServiceError: there is neither.
    """
    manager = Systemctl(environ)
    units = (SERVICE, ONCE)
    if any(manager.journal(unit, 1) for unit in units):
        more = ["--follow"] if follow else ["--no-pager"]
        chosen = [f"--unit={unit}" for unit in units]
        return "the journal", ["journalctl", "--user", f"--lines={lines}", *chosen, *more]
    path = own_host(home).log
    if not path.is_file():
        raise ServiceError(f"the journal has no entry of the service, and no sidecar has run here: no {path}")
    return str(path), ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)]
