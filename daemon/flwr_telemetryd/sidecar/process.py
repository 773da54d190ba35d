"""``flwr-telemetryd [--service [--drain-s N] | --once]``: the sidecar as a process.

The first event starts it on demand, without arguments. This module sets up the process (signals, priority,
log, the lock, the service manager). ``sidecar/loop.py`` does the work.

Until the log is there, standard error of a sidecar on demand is ``start-errors.log``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time

from flwr_telemetry import files, machine, presence, start_errors, system
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home, HostPaths, home_directory
from flwr_telemetry.locks import LockResult
from flwr_telemetry.presence import NAME
from flwr_telemetry.settings import (
    RECHECK_S,
    UPLOAD,
    Consent,
    Settings,
    environment_refusal,
    load,
    upload_refusal,
)
from flwr_telemetry.version import described

from ..clock import Clock
from ..delivery import open_sink
from ..delivery.deadline import RESOLVER_OPTIONS
from ..errors import ExitCode, describe
from ..outbox import purge
from ..outbox.backlog import anything_waits, is_waiting
from ..runtime import Mode
from ..spool.directory import check_root, known_hosts
from ..spool.locks import WAIT_S, HostLock, held
from .log import log, set_up_log
from .loop import Sidecar
from .schedule import ExitReason
from .sd_notify import ServiceManager
from .signals import Signals, TerminatedError

TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING:
    import argparse

LINGER_S = RECHECK_S + 0.25
"""A writer that saw a living sidecar does not check again for ``RECHECK_S``. After that the backlog is
checked once more."""

DRAIN_S = 5.0
"""For how long a service delivers after SIGTERM, unless ``--drain-s`` says otherwise."""

_TRIES = 3

_EXIT_CODES = {
    ExitReason.IDLE: ExitCode.OK,
    ExitReason.DRAINED: ExitCode.OK,
    ExitReason.OFFLINE: ExitCode.UNDELIVERED,
    ExitReason.UNDELIVERED: ExitCode.UNDELIVERED,
    ExitReason.REMOVED: ExitCode.UNUSABLE,
    ExitReason.UNINSTALLED: ExitCode.UNUSABLE,
    ExitReason.LOST: ExitCode.BUSY,
}


def main(arguments: list[str] | None = None) -> int:
    """Run a sidecar to its end; the exit code, see ``ExitCode``.

    Args:
        arguments: the command line without the program's name; that of this process by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # Without arguments argparse is not loaded, because it would delay each start on demand.
    mode, drain_s = _parse(arguments) if arguments else (Mode.ON_DEMAND, 0.0)
    if not system.IS_SUPPORTED:
        return _fail("this system is not supported", ExitCode.UNUSABLE)
    system.retry_busy_files()
    _name_process()
    os.umask(0o077)
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    try:
        signals = Signals(reloads=mode is Mode.SERVICE)
        home = Home(home_directory(os.environ))
        code = _begin(home, mode, signals, drain_s)
        start_errors.clear(machine.own_host(home))  # if it ended before it had a log, that was no failure
        return code
    except (OSError, TelemetryError) as error:
        return _fail(describe(error, None), ExitCode.UNUSABLE)
    except TerminatedError:
        return ExitCode.UNDELIVERED if mode is Mode.ONCE else ExitCode.OK


def _name_process() -> None:
    """Give this process its name; Python has given it the interpreter's."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as file:
        file.write(NAME)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; its text is also the manual page."""
    import argparse

    found = argparse.ArgumentParser(
        prog="flwr-telemetryd",
        description="Deliver the events in Flower's telemetry spool.",
        epilog="Exit codes: 0 nothing is left, 1 not all could be delivered now (it is kept), 2 usage, "
        "3 telemetry is off (by a file, or by a variable of this process), 4 another sidecar runs, "
        "5 the home cannot be used.",
    )
    modes = found.add_mutually_exclusive_group()
    modes.add_argument("--service", action="store_true", help="run as a service, until a signal ends it")
    modes.add_argument("--once", action="store_true", help="deliver everything that waits, then end")
    told = f"with --service: deliver for so long after SIGTERM; 0 ends at once (default {DRAIN_S:g})"
    found.add_argument("--drain-s", type=float, metavar="N", help=told)
    found.add_argument("-V", "--version", action="store_true", help="show the version, and exit")
    return found


def _parse(arguments: list[str]) -> tuple[Mode, float]:
    """The mode, and for how long a service delivers after SIGTERM, in seconds."""
    found = parser()
    chosen = found.parse_args(arguments)
    if chosen.version:
        sys.stdout.write(f"{described('flwr-telemetryd')}\n")
        found.exit()
    mode = Mode.SERVICE if chosen.service else Mode.ONCE if chosen.once else Mode.ON_DEMAND
    if chosen.drain_s is None:
        return mode, DRAIN_S if mode is Mode.SERVICE else 0.0
    if mode is not Mode.SERVICE or not 0 <= chosen.drain_s <= threading.TIMEOUT_MAX:
        found.error("--drain-s needs --service and a number of seconds")
    return mode, chosen.drain_s


def _fail(reason: str, code: ExitCode) -> int:
    with contextlib.suppress(AttributeError, OSError):  # standard error may be closed, or a full disk
        sys.stderr.write(f"flwr-telemetryd: {reason}\n")
    return code


def _is_watched() -> bool:
    """Whether a person has started this process on a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def _tell(text: str) -> None:
    """Tell a person on a terminal what this process does."""
    if _is_watched():
        _fail(text, ExitCode.OK)


def _begin(home: Home, mode: Mode, signals: Signals, drain_s: float) -> int:
    """``_serve``, and with ``--once`` again if another host has just removed this host's empty directory."""
    for _ in range(_TRIES if mode is Mode.ONCE else 0):
        try:
            code = _serve(home, mode, signals, drain_s)
        except OSError:
            if not _is_pruned(home):
                raise
        else:
            if code not in {ExitCode.BUSY, ExitCode.UNUSABLE} or not _is_pruned(home):
                return code
    return _serve(home, mode, signals, drain_s)


def _is_pruned(home: Home) -> bool:
    """Whether this host's directory is gone, while its home still stands."""
    return not os.path.lexists(machine.own_host(home).root) and home.telemetry.is_dir()


def _serve(home: Home, mode: Mode, signals: Signals, drain_s: float) -> int:
    """Run a sidecar, and another one after an idle end if an event came at the last moment."""
    chosen = load(home, None)
    consent = chosen.consent
    purge.if_asked(home, consent)
    # A person may start this process. A sidecar on demand never gets the variables of an opt-out: the
    # emitter that starts it has telemetry on, and passes neither of them on.
    consent = environment_refusal(os.environ) or _kept_refusal(chosen) or consent
    if not consent.enabled:
        return _report_disabled(consent, mode)
    host = machine.own_host(home)
    if not host.root.is_dir():
        if mode is not Mode.SERVICE and not any(map(is_waiting, known_hosts(home))):
            _tell(f"nothing waits in {home.path}")
            return ExitCode.OK  # nothing was ever spooled, so nothing needs to be created
        files.make_home(home.path)
        files.ensure_directory(host.telemetry)
        files.ensure_directory(host.root)
    host = machine.own_host(home, lambda: True)
    check_root(host)
    if mode is Mode.SERVICE:
        request_exit(host)
    with held(host, WAIT_S if mode is Mode.ON_DEMAND else 4 * WAIT_S, create=True) as lock:
        if lock.result is LockResult.BUSY:
            if mode is Mode.SERVICE:
                _fail("another sidecar has this home, and did not end in time", ExitCode.BUSY)
            return ExitCode.BUSY
        lower_priority()
        set_up_log(host, os.environ, to_stderr=mode is not Mode.ON_DEMAND or _is_watched())
        _tell(f"delivers the events of {home.path}; Ctrl-C ends it, and nothing is lost")
        if mode is Mode.ON_DEMAND and not chosen.kept_by:
            open_sink(chosen).close()  # loads what a delivery needs, and may die of that
        start_errors.clear(host)
        reason = _run_sidecar(home, mode, lock, signals, drain_s)
    while mode is Mode.ON_DEMAND and reason is ExitReason.IDLE:
        time.sleep(LINGER_S)
        if not load(home, None).consent.enabled or not anything_waits(host):
            break
        with held(host, WAIT_S) as lock:
            if lock.result is LockResult.BUSY:
                break
            reason = _run_sidecar(home, mode, lock, signals)
    if reason is ExitReason.DISABLED:
        return _report_disabled(load(home, None).consent, mode)
    return _EXIT_CODES[reason]


def _kept_refusal(chosen: Settings) -> Consent | None:
    """A sidecar whose own variables say that nothing is sent does nothing, because a file decides for all."""
    reason = "" if chosen.kept_by else upload_refusal(os.environ)
    return Consent(enabled=False, decided_by=UPLOAD, reason=reason) if reason else None


def request_exit(host: HostPaths) -> None:
    """Ask a sidecar on demand that holds the lock to end, because a service takes over its work.

    It may end at any moment without loss. A service is not asked, because one service is enough.
    """
    presence.signal_sidecar(host, Mode.ON_DEMAND.value, signal.SIGTERM)


def _report_disabled(consent: Consent, mode: Mode) -> int:
    """The exit code while telemetry is off. A service manager does not restart a service after DISABLED.

    A service gets that code only after a clear opt-out, because invalid settings may be half saved.
    """
    is_final = consent.decided_by != "owner" and not (consent.enabled or consent.malformed)
    code = ExitCode.DISABLED if is_final or mode is not Mode.SERVICE else ExitCode.UNUSABLE
    return code if mode is Mode.ON_DEMAND else _fail(f"telemetry is off: {consent.reason}", code)


def _run_sidecar(
    home: Home, mode: Mode, lock: HostLock, signals: Signals, drain_s: float = 0.0
) -> ExitReason:
    clock, asked = Clock(sleep=signals.sleep, wait=signals.sleep), signals.reload_asked
    manager = ServiceManager(os.environ if mode is Mode.SERVICE else {})
    gc.freeze()
    gc.enable()
    sidecar = Sidecar(home, mode, open_sink, lock=lock, clock=clock, manager=manager, reload_asked=asked)
    try:
        return sidecar.run()
    except TerminatedError:
        if drain_s > 0:
            with signals.respite(drain_s):
                sidecar.drain()
        sidecar.close("terminated")
        raise
    except (OSError, TelemetryError) as error:
        log.error("ending: %s", describe(error, None))
        raise
    except Exception:
        log.exception("ending because of a defect")
        raise


def lower_priority() -> None:
    """Lower the CPU priority of this process, so that it delays no other process.

    Linux derives its I/O priority from that (ioprio_set(2)). It is not the class "idle". A process of that
    class may hold up the others that wait for the same journal of a file system.
    """
    with contextlib.suppress(OSError):  # a container may forbid it
        system.lower_priority()
