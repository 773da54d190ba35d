"""Install the service and start it; stop it and uninstall it.

A unit is written whole, by one rename, and only where no file stands or the file is exactly as this package
wrote it. A machine may refuse some of its settings. Then trials find these (``protection.py``), and the
service is started a second time, with a drop-in that switches them off.

This module does not check the consent: the caller of ``install`` has just done it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr_telemetry import files, system
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings

from ...clock import Clock
from ...errors import ServiceError
from .. import switch
from . import launchd
from .machine import this_machine
from .protection import Exposure, drop_in_text, is_refused, refused_in, refused_settings
from .status import NO_MANAGER, former_version
from .systemctl import UP, Systemctl
from .unit import (
    DELIVERS,
    ONCE,
    SERVICE,
    TIMER,
    Author,
    Changes,
    author,
    check_ours,
    check_serves,
    drop_in,
    hosts_of,
    is_same,
    note_of,
    read,
    render,
    sealed,
    shipped,
    write,
)

_STARTS_S = 10.0
_POLL_S = 0.1


def install(home: Home, now: Settings, environ: Mapping[str, str], clock: Clock, *, timer: bool) -> Changes:
    """Write, enable and start the unit that serves a home.

    Args:
        home: the home to serve.
        now: its settings; telemetry is on.
        environ: this process's variables.
        clock: time.
        timer: deliver now and then, without a process that stays.

    Raises:
        ServiceError: this machine cannot have the service, a unit is not ours to change, or it serves
            another home. Nothing was changed.
        UnusableHomeError: the home belongs to another user.
        TelemetryError, OSError: the system refuses a step.
    """
    switch.check_owner(home)
    if system.MACOS:
        _make_telemetry(home)
        return launchd.install(
            home, now, environ, clock, lambda pid: former_version(home, pid) is not None, timer=timer
        )
    manager = _manager(environ)
    directory = manager.unit_directory()
    machine = this_machine(home, now, environ)
    for sink in machine.writes[1:]:
        if not sink.is_dir():  # a running service could not write to it later
            raise ServiceError(f"url names a file in {sink}, which is no directory; make it first")
    names, others = ((ONCE, TIMER), (SERVICE,)) if timer else ((SERVICE,), (TIMER, ONCE))
    hosts = [host for name in (SERVICE, TIMER) for host in hosts_of(read(directory / name) or "")]
    texts = {name: sealed(render(shipped(name), machine, hosts)) for name in names}
    for name in names:
        _check_ours(directory / name)
    for name in (SERVICE, ONCE):  # the units of the other kind would be removed
        check_serves(directory / name, note_of(read(directory / name) or "").get("home"), home)
    _make_telemetry(home)
    changes = Changes(directory, TIMER if timer else SERVICE)
    _remove(manager, changes, others)
    changes.written = [name for name, text in texts.items() if write(directory / name, text)]
    joins = bool(hosts) and machine.host not in hosts
    if changes.written and not joins:  # an update may allow namespaces, but the other hosts keep the drop-in
        _unlink_ours(directory / drop_in(names[0]))
    changes.complaint = _start(manager, changes, home, clock)
    return changes


def _make_telemetry(home: Home) -> None:
    files.make_home(home.path)
    files.ensure_directory(home.telemetry)


def planned(home: Home, now: Settings, environ: Mapping[str, str], *, timer: bool) -> dict[str, str]:
    """The text of each unit that ``install`` would write, by its name; nothing is changed or asked."""
    if system.MACOS:
        return launchd.planned(home, now, environ, timer=timer)
    machine = this_machine(home, now, environ)
    return {name: sealed(render(shipped(name), machine)) for name in ((ONCE, TIMER) if timer else (SERVICE,))}


def uninstall(environ: Mapping[str, str]) -> Changes:
    """Stop, disable and remove the units; without a running manager, only remove the files."""
    if system.MACOS:
        return launchd.uninstall(environ, Clock())
    manager = Systemctl(environ)
    changes = Changes(manager.unit_directory())
    _remove(manager, changes, (TIMER, SERVICE, ONCE), is_up=manager.state() in UP)
    return changes


def serves(home: Home, environ: Mapping[str, str]) -> bool:
    """Whether the installed service, perhaps a stopped one, is that of this home."""
    if system.MACOS:
        served = [launchd.served_home(environ)]
    else:
        directory = Systemctl(environ).unit_directory()
        served = [note_of(read(directory / name) or "").get("home") for name in (SERVICE, TIMER, ONCE)]
    return any(path is not None and is_same(path, home) for path in served)


def _check_ours(path: Path) -> None:
    advice = f", and use `systemctl --user edit {path.name}` for settings of your own"
    check_ours(path, author(read(path)), advice)


def _manager(environ: Mapping[str, str]) -> Systemctl:
    """The user's running manager. Raises ServiceError if there is none here."""
    manager = Systemctl(environ)
    advice = "or let cron or the batch system's epilog run `flwr-telemetryd --once`"
    if not manager.is_here():
        msg = f"there is no systemd here; let your service manager run `flwr-telemetryd --service`, {advice}"
        raise ServiceError(msg)
    if manager.state() not in UP:
        raise ServiceError(f"{NO_MANAGER}, {advice}")
    return manager


def _start(manager: Systemctl, changes: Changes, home: Home, clock: Clock) -> str:
    """Enable and start the unit, without namespaces if they are refused; the error message of systemd."""
    delivers = DELIVERS[changes.unit]
    complaint = manager.run("daemon-reload") or manager.run("enable", changes.unit)
    if complaint:
        return complaint
    found = manager.show(changes.unit, "ActiveState", "MainPID")
    # An older version may run from the same unit.
    is_old = former_version(home, int(found.get("MainPID") or 0)) is not None
    if not changes.written and found.get("ActiveState") == "active" and not is_old:
        return ""
    complaint = _restart(manager, changes.unit, clock)
    if is_refused(manager.show(delivers, "ExecMainStatus").get("ExecMainStatus")):
        manager.run("stop", changes.unit, delivers)  # it would start again and again
        if _drop_settings(manager, changes, delivers):
            complaint = manager.run("daemon-reload") or _restart(manager, changes.unit, clock)
    return complaint


def _drop_settings(manager: Systemctl, changes: Changes, unit: str) -> bool:
    """Write the drop-in without the settings that this machine cannot keep; whether it changed."""
    text, name = read(changes.directory / unit) or "", drop_in(unit)
    path = changes.directory / name
    _check_ours(path)
    # Another host of a shared home reads the same drop-in.
    hosts = hosts_of(read(changes.directory / changes.unit) or "")
    former = refused_in(read(path)) if len(hosts) > 1 else {}
    if (refused := refused_settings(manager, text)) is None:
        return False
    refused = {**former, **refused}
    _unlink_ours(path)
    manager.run("daemon-reload")
    with_all = manager.exposure(unit)
    if not refused or not write(path, sealed(drop_in_text(refused, None))):
        return False
    manager.run("daemon-reload")
    now = manager.exposure(unit)
    if with_all is not None and now is not None:
        write(path, sealed(drop_in_text(refused, Exposure(with_all, now))))
    changes.written.append(name)
    return True


def _restart(manager: Systemctl, unit: str, clock: Clock) -> str:
    """Start the unit afresh. A timer delivers once at once, to show whether it can."""
    delivers = DELIVERS[unit]
    manager.run("reset-failed", unit, delivers)
    complaint = manager.run("restart", unit)
    if unit == delivers or complaint:
        return complaint
    complaint = manager.run("start", "--no-block", delivers)
    deadline = clock.monotonic() + _STARTS_S
    while not complaint and clock.monotonic() < deadline:
        found = manager.show(delivers, "ActiveState", "Result", "Job")
        if found.get("ActiveState") not in {"activating", "reloading"} and not found.get("Job"):
            return "" if found.get("Result") == "success" else f"{delivers}: {found.get('Result')}"
        clock.sleep(_POLL_S)
    return complaint


def _remove(manager: Systemctl, changes: Changes, names: Iterable[str], *, is_up: bool = True) -> None:
    for name in names:
        path = changes.directory / name
        found = author(read(path))
        if found is Author.FOREIGN:
            changes.kept.append(f"{path} was not written by this command, and is left as it is")
        if found in {Author.FOREIGN, Author.NONE}:
            continue
        if is_up:
            manager.run("disable", "--now", name)
            manager.run("stop", name)
        else:
            manager.run("disable", name, SYSTEMD_OFFLINE="1")
        if found is Author.EDITED:
            changes.kept.append(f"{path} was edited since it was written; it is disabled, but not removed")
        else:
            path.unlink(missing_ok=True)
            changes.removed.append(name)
        if _unlink_ours(changes.directory / drop_in(name)):
            changes.removed.append(drop_in(name))
    if changes.removed and is_up:
        manager.run("daemon-reload")
        manager.run("reset-failed", *(name for name in changes.removed if "/" not in name))


def _unlink_ours(path: Path) -> bool:
    if author(read(path)) is not Author.OURS:
        return False
    path.unlink()
    with contextlib.suppress(OSError):  # the user may have other drop-ins there
        path.parent.rmdir()
    return True
