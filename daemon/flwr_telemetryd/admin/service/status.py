"""What the service said: in the journal, or, where that shows its user nothing, in the sidecar's own file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from flwr_telemetry import presence, settings
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings
from flwr_telemetry.version import __version__

from ...clock import Clock
from ...errors import ServiceError, describe
from ...inspect import problems
from ...outbox.backlog import bodies_wait
from ...state import State
from .install import NO_MANAGER
from .machine import needs, sink_directory, this_host
from .systemctl import UP, Systemctl, lingers
from .unit import (
    ONCE,
    SERVICE,
    TIMER,
    Author,
    allows,
    author,
    drop_in,
    former_version,
    hosts_of,
    noted,
    read,
    render,
    sealed,
    shipped,
    unit_directory,
)


@dataclass(frozen=True, slots=True)
class Log:
    """A program that shows it, with its arguments, and what it shows, in words."""

    command: list[str]
    words: str


def find(home: Home, environ: Mapping[str, str], *, lines: int, follow: bool) -> Log:
    """What shows the last lines.

    Raises:
        ServiceError: nothing was said yet, or not here.
    """
    manager = Systemctl(environ)
    said_by = (SERVICE, ONCE)
    if any(manager.last_words(unit, 1) for unit in said_by):
        more = ["--follow"] if follow else ["--no-pager"]
        chosen = [f"--unit={unit}" for unit in said_by]
        return Log(["journalctl", "--user", f"--lines={lines}", *chosen, *more], "the journal")
    path = home.host().log
    if not path.is_file():
        msg = f"the journal shows nothing of it, and there is no {path}: no sidecar has run on this host"
        raise ServiceError(msg)
    return Log(["tail", f"--lines={lines}", *(["-F"] if follow else []), str(path)], str(path))


_MOST_BYTES = 2**63


_PROPERTIES = (
    "ActiveState SubState Result MainPID ExecMainStatus NRestarts MemoryCurrent ActiveEnterTimestamp "
    "StatusText UnitFileState ExecMainExitTimestamp".split()
)


@dataclass(slots=True)
class ServiceStatus:
    """How it stands.

    Attributes:
        serves: whether events of this home are delivered by it.
        kind: `service`, `timer`, or None where nothing is installed.
        unit: the path of what is enabled.
        author: who wrote that last.
        current: whether it is what an install would write now.
        home: the home that it serves.
        interpreter: the Python that it runs.
        hosts: the machines on which it runs; none if on all that see its unit.
        namespaces: whether it has views of its own of files and devices.
        manager: state of the user's manager; empty where none answers.
        enabled, active, result, since, status: systemd's words.
        pid, restarts, memory_bytes: of the process; None where it is not known.
        lingers: whether it outlives the last session.
        heartbeats: of services of this home, by host: age in seconds by the file system's time.
        last_delivery, last_error: of this host's sidecar.
        fails: whether something waits here that could not be delivered when that was tried last.
        problems: what is in the way, one sentence each.
    """

    serves: bool = False
    kind: str | None = None
    unit: str | None = None
    author: str = Author.NOBODY.value
    current: bool = False
    home: str = ""
    interpreter: str = ""
    hosts: list[str] = field(default_factory=list)
    namespaces: bool = True
    manager: str = ""
    enabled: str = ""
    active: str = ""
    result: str = ""
    since: str = ""
    status: str = ""
    pid: int | None = None
    restarts: int | None = None
    memory_bytes: int | None = None
    lingers: bool = False
    heartbeats: dict[str, float] = field(default_factory=dict)
    last_delivery: str | None = None
    last_error: str | None = None
    fails: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def is_for_here(self) -> bool:
        """Whether it would run on this machine."""
        return not self.hosts or this_host().lower() in map(str.lower, self.hosts)

    def public(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


def look(home: Home, environ: Mapping[str, str]) -> ServiceStatus:
    """How the service stands now; never raises for what the machine or the home is.

    Args:
        home: the home to serve, if what is installed does not name another.
        environ: this process's variables.
    """
    manager = Systemctl(environ)
    state = manager.state() if manager.is_here() else ""
    view = ServiceStatus(manager=state if state in UP else "", home=str(home.path))
    searched = manager.show("", "UnitPath").get("UnitPath", "") if view.manager else ""
    place = unit_directory(manager.environ, searched)
    text = _see_unit(view, place)
    served = Home(Path(view.home))
    now = settings.load(served, None)
    if text is not None:
        _see_text(view, text, served, now, environ)
    if view.manager and view.kind:
        _see_process(view, manager)
    view.lingers = lingers(environ)
    _see_home(view, served, now)
    view.problems += _problems(view, served, now)
    view.serves = _serves(view, served, now)
    return view


def _see_unit(view: ServiceStatus, place: Path) -> str | None:
    for kind, name, does in (
        ("service", SERVICE, SERVICE),
        ("timer", TIMER, ONCE),
    ):
        text = read(place / name)
        if text is None:
            continue
        view.kind, view.unit = kind, str(place / name)
        view.author = author(text).value
        view.hosts = hosts_of(text)
        view.namespaces = read(place / drop_in(does)) is None
        what = text if name == does else read(place / does)
        view.home = noted(what or "").get("home", view.home)
        if author(text) is Author.WE and what is not None:
            view.author = author(what).value
        return what
    return None


def _see_text(view: ServiceStatus, text: str, home: Home, now: Settings, environ: Mapping[str, str]) -> None:
    view.interpreter = noted(text).get("interpreter", "")
    if view.interpreter and not os.access(view.interpreter, os.X_OK):
        view.problems.append(f"{view.interpreter}, which it runs, is gone; install again from an environment")
    sink = sink_directory(now)
    if sink is not None and view.author != Author.OTHERS.value and not allows(text, sink):
        view.problems.append(
            f"url names a file in {sink}, where the unit lets it write nothing; install again"
        )
    name = SERVICE if view.kind == "service" else ONCE
    try:
        view.current = text == sealed(render(shipped(name), needs(home, now, environ), view.hosts))
    except (ServiceError, OSError):
        view.current = False


def _see_process(view: ServiceStatus, manager: Systemctl) -> None:
    unit = SERVICE if view.kind == "service" else TIMER
    told = manager.show(unit, *_PROPERTIES)
    view.enabled = told.get("UnitFileState", "")
    view.active = f"{told.get('ActiveState', '')} ({told.get('SubState', '')})"
    view.since = told.get("ActiveEnterTimestamp", "")
    if view.kind == "timer":
        told = manager.show(ONCE, *_PROPERTIES)
        view.since = told.get("ExecMainExitTimestamp", "")
    view.result = told.get("Result", "")
    view.status = told.get("StatusText", "")
    view.pid = _number(told.get("MainPID")) or None
    view.restarts = _number(told.get("NRestarts"))
    view.memory_bytes = _number(told.get("MemoryCurrent"))
    if view.pid is not None and view.memory_bytes is None:
        try:
            view.memory_bytes = psutil.Process(view.pid).memory_info().rss
        except psutil.Error:
            view.pid = None


def _number(text: str | None) -> int | None:
    found = re.fullmatch(r"\d+", text or "")
    return int(found[0]) if found and int(found[0]) < _MOST_BYTES else None


def _see_home(view: ServiceStatus, home: Home, now: Settings) -> None:
    if not now.consent.enabled or not problems.can_be_read(home):
        return
    state = State.load(home.host())
    view.last_delivery, view.last_error = state.last_delivery or None, state.last_error or None
    try:
        view.fails = bool(state.last_error) and bodies_wait(home.host())
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
        yield f"it runs on {', '.join(view.hosts)}, and not here; `flwr-telemetry service install` lets it"
    elif now.consent.enabled and view.manager and not view.active.startswith("active"):
        name = os.path.basename(view.unit or "")
        yield f"it does not run; `systemctl --user start {name}` starts it"
    if view.interpreter == sys.executable and (former := former_version(home, str(view.pid))) is not None:
        name = os.path.basename(view.unit or "")
        yield (
            f"it still runs version {former} and not {__version__}; installing again restarts it, "
            f"and so does `systemctl --user restart {name}`"
        )
    if view.fails:
        yield f"what waits cannot be delivered now, and is kept: {view.last_error}"
    if not view.manager:
        yield NO_MANAGER
    if view.author == Author.OTHERS.value:
        yield f"{view.unit} was not written by `flwr-telemetry service install`"
    elif view.author == Author.WE.value and not view.current and view.is_for_here:
        yield "an install would write the unit anew: something that it depends on has changed"


def _serves(view: ServiceStatus, home: Home, now: Settings) -> bool:
    if not now.consent.enabled or not view.active.startswith("active"):
        return False
    if view.fails:
        return False
    if view.kind == "timer":
        return view.result == "success"
    age_s = view.heartbeats.get(home.host().name, presence.HEARTBEAT_FRESH_S)
    return age_s < presence.HEARTBEAT_FRESH_S


SERVES_S = 20.0


FAILS_S = 3.0
"""What waited before may have an old error beside it, until the new process has tried for itself."""


_POLL_S = 0.1


def wait(home: Home, environ: Mapping[str, str], clock: Clock, *, hopeless: bool = False) -> ServiceStatus:
    """How it stands once that is settled, or after ``SERVES_S``.

    Args:
        home: as for ``look``.
        environ: this process's variables.
        clock: time.
        hopeless: it could not be started; only look.
    """
    start = clock.monotonic()
    while True:
        view = look(home, environ)
        past_s = clock.monotonic() - start
        settled = view.serves or hopeless or view.active.startswith(("failed", "inactive"))
        if settled or past_s >= (FAILS_S if view.fails else SERVES_S):
            return view
        clock.sleep(_POLL_S)
