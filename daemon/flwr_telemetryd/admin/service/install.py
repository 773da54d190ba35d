"""Put the service in place and start it; stop it and take it away.

A unit is written whole, by one rename, and only where nothing stands or what stands is as we wrote it.
Where the machine refuses user namespaces the service does not start with them: that is tried, not guessed,
and then it gets a file that makes it do without.

This room must never ask for consent twice: whoever calls ``install`` has read it a moment ago.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...errors import ServiceError
from .. import switch
from .machine import Machine, needs
from .systemctl import UP, Systemctl
from .unit import (
    NO_NAMESPACES,
    ONCE,
    SERVICE,
    TIMER,
    Author,
    author,
    check_ours,
    check_serves,
    drop_in,
    former_version,
    hosts_of,
    read,
    render,
    sealed,
    shipped,
    unit_directory,
)

NAMESPACES_REFUSED = frozenset({"217", "218", "226"})
"""How systemd's own part of a new process ends that may not have them (systemd.exec(5)): USER, CAPABILITIES,
NAMESPACE."""

NO_MANAGER = "this user has no running systemd here; log in by ssh or console (not by su or sudo)"

_STARTS_S = 10.0
_POLL_S = 0.1


@dataclass(slots=True)
class Installed:
    """What came of it.

    Attributes:
        unit: what is enabled: a service or a timer.
        directory: where the units are.
        written: the files that were written, by name; none if all was in place.
        complaint: what systemd said if it could not be started; else empty.
        removed: files of another way of serving, by name.
        kept: those of them that were not removed, and why.
    """

    unit: str
    directory: Path
    written: list[str] = field(default_factory=list)
    complaint: str = ""
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Removed:
    """What was taken away, by name, and what was not, and why."""

    directory: Path
    names: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def the_manager(environ: Mapping[str, str]) -> Systemctl:
    """The user's manager.

    Raises:
        ServiceError: there is none here.
    """
    manager = Systemctl(environ)
    if sys.platform == "darwin":
        msg = "launchd of macOS is not served; none is needed: the first event starts a sidecar"
        raise ServiceError(msg)
    otherwise = "or let cron or the batch system's epilog run `flwr-telemetryd --once`"
    if not manager.is_here():
        msg = (
            f"there is no systemd here; run `flwr-telemetryd --service` in what there is instead, {otherwise}"
        )
        raise ServiceError(msg)
    if manager.state() not in UP:
        msg = f"{NO_MANAGER}, {otherwise}"
        raise ServiceError(msg)
    return manager


def install(
    home: Home, now: Settings, environ: Mapping[str, str], clock: Clock, *, timer: bool = False
) -> Installed:
    """Write, enable and start what serves a home.

    Args:
        home: which one.
        now: its settings; telemetry is on.
        environ: this process's variables.
        clock: time.
        timer: deliver now and then, instead of a process that stays.

    Raises:
        ServiceError: that cannot be here, or a unit is not ours to change, or serves another home; nothing
            was changed.
        UnusableHomeError: the home belongs to somebody else.
        TelemetryError, OSError: the system's refusal.
    """
    switch.check_owner(home)
    manager = the_manager(environ)
    place = unit_directory(manager.environ, manager.show("", "UnitPath").get("UnitPath", ""))
    found = needs(home, now, environ)
    _check_there(found)
    names = (ONCE, TIMER) if timer else (SERVICE,)
    hosts = [host for name in (SERVICE, TIMER) for host in hosts_of(read(place / name) or "")]
    texts = {name: sealed(render(shipped(name), found, hosts)) for name in names}
    for name in names:
        check_ours(place / name)
    for name in (SERVICE, ONCE):  # those of the other way of serving would be removed, too
        check_serves(place / name, home)
    files.make_home(home.path)
    files.ensure_directory(home.telemetry)
    done = Installed(TIMER if timer else SERVICE, place)
    others = (SERVICE,) if timer else (TIMER, ONCE)
    former = _remove(manager, place, others)
    done.removed, done.kept = former.names, former.kept
    done.written = [name for name, text in texts.items() if _write(place / name, text)]
    joins = bool(hosts) and found.host not in hosts  # those who were here first may need to do without
    if done.written and not joins:  # after an update there may be namespaces
        _unlink_ours(place / drop_in(names[0]))
    done.complaint = _start(manager, place, done, home, clock)
    return done


def uninstall(environ: Mapping[str, str]) -> Removed:
    """Stop, disable and remove what we wrote; where no manager runs, the files alone."""
    manager = Systemctl(environ)
    is_up = manager.is_here() and manager.state() in UP
    searched = manager.show("", "UnitPath").get("UnitPath", "") if is_up else ""
    place = unit_directory(manager.environ, searched)
    return _remove(manager, place, (TIMER, SERVICE, ONCE), is_up=is_up)


def _check_there(found: Machine) -> None:
    """A directory that is made later stays closed to a service that runs already."""
    for directory in found.writes[1:]:
        if not directory.is_dir():
            msg = f"url names a file in {directory}, which is no directory; make it first"
            raise ServiceError(msg)


def _write(path: Path, text: str) -> bool:
    if read(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_bytes(path, text.encode(), durable=True, any_owner=True)
    return True


def _start(manager: Systemctl, place: Path, done: Installed, home: Home, clock: Clock) -> str:
    """Enable and start it, without namespaces if they are refused; what systemd complains of."""
    does = ONCE if done.unit == TIMER else SERVICE
    complaint = manager.do("daemon-reload") or manager.do("enable", done.unit)
    if complaint:
        return complaint
    told = manager.show(done.unit, "ActiveState", "MainPID")
    is_old = former_version(home, told.get("MainPID", "")) is not None  # the text of the unit is the same
    if not done.written and told.get("ActiveState") == "active" and not is_old:
        return ""
    complaint = _started(manager, done.unit, does, clock)
    if manager.show(does, "ExecMainStatus").get("ExecMainStatus") in NAMESPACES_REFUSED:
        name = drop_in(does)
        check_ours(place / name)
        if _write(place / name, sealed(shipped(NO_NAMESPACES))):
            done.written.append(name)
            complaint = manager.do("daemon-reload") or _started(manager, done.unit, does, clock)
    return complaint


def _started(manager: Systemctl, unit: str, does: str, clock: Clock) -> str:
    """Start it afresh; for a timer, let it deliver once at once, to see whether it can."""
    manager.do("reset-failed", unit, does)
    complaint = manager.do("restart", unit)
    if unit == does or complaint:
        return complaint
    complaint = manager.do("start", "--no-block", does)
    deadline = clock.monotonic() + _STARTS_S
    while not complaint and clock.monotonic() < deadline:
        state = manager.show(does, "ActiveState", "Result", "Job")
        if state.get("ActiveState") not in {"activating", "reloading"} and not state.get("Job"):
            return "" if state.get("Result") == "success" else f"{does}: {state.get('Result')}"
        clock.sleep(_POLL_S)
    return complaint


def _remove(manager: Systemctl, place: Path, names: Iterable[str], *, is_up: bool = True) -> Removed:
    done = Removed(place)
    for name in names:
        path = place / name
        who = author(read(path))
        if who is Author.OTHERS:
            done.kept.append(f"{path} was not written by this command, and is left as it is")
        if who in {Author.OTHERS, Author.NOBODY}:
            continue
        if is_up:
            manager.do("disable", "--now", name)
            manager.do("stop", name)
        else:
            manager.do("disable", name, SYSTEMD_OFFLINE="1")
        if who is Author.EDITED:
            done.kept.append(f"{path} was edited since it was written; it is disabled, and yours to remove")
        else:
            path.unlink(missing_ok=True)
            done.names.append(name)
        if _unlink_ours(place / drop_in(name)):
            done.names.append(drop_in(name))
    if done.names and is_up:
        manager.do("daemon-reload")
        manager.do("reset-failed", *(name for name in done.names if "/" not in name))
    return done


def _unlink_ours(path: Path) -> bool:
    if author(read(path)) is not Author.WE:
        return False
    path.unlink()
    with contextlib.suppress(OSError):  # somebody else has a file there, too
        path.parent.rmdir()
    return True
