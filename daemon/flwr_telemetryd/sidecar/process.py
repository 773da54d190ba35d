"""``flwr-telemetryd [--service | --once]``: the sidecar as a process.

Started on demand by the first event, without arguments. This room sets up what belongs to the process
(signals, priority, log, the lock, the service manager) and leaves the work to ``sidecar/loop.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time

import psutil

from flwr_telemetry import files, presence
from flwr_telemetry.errors import TelemetryError, from_os_error
from flwr_telemetry.launch import RECHECK_S
from flwr_telemetry.layout import Home, HostPaths, home_directory
from flwr_telemetry.locks import LockResult
from flwr_telemetry.settings import Consent, load

from ..clock import Clock
from ..delivery import open_sink
from ..delivery.deadline import RESOLVER_OPTIONS
from ..errors import ExitCode
from ..outbox import purge
from ..outbox.backlog import anything_waits
from ..runtime import Mode
from ..spool.directory import check_root, known_hosts
from ..spool.locks import WAIT_S, HostLock, held
from .log import set_up_log
from .loop import Sidecar
from .schedule import ExitReason
from .sd_notify import ServiceManager
from .signals import Signals, TerminatedError

LINGER_S = RECHECK_S + 0.25
"""A writer that saw us alive does not look again for so long; we look once more after that."""


_EXIT_CODES = {
    ExitReason.IDLE: ExitCode.OK,
    ExitReason.DRAINED: ExitCode.OK,
    ExitReason.OFFLINE: ExitCode.UNDELIVERED,
    ExitReason.UNDELIVERED: ExitCode.UNDELIVERED,
    ExitReason.DISABLED: ExitCode.DISABLED,
    ExitReason.REMOVED: ExitCode.UNUSABLE,
}


log = logging.getLogger("flwr_telemetryd")


def main(arguments: list[str] | None = None) -> int:
    """Run a sidecar to its end; the exit code says what is left."""
    words = sys.argv[1:] if arguments is None else arguments
    mode = _mode(words) if words else Mode.ON_DEMAND
    if os.name != "posix":
        return _say("flwr-telemetryd works on Linux and macOS only", ExitCode.UNUSABLE)
    os.umask(0o077)
    os.environ.setdefault("RES_OPTIONS", RESOLVER_OPTIONS)
    ended_early = ExitCode.UNDELIVERED if mode is Mode.ONCE else ExitCode.OK
    try:
        signals = Signals(reloads=mode is Mode.SERVICE)
        home = Home(home_directory(os.environ))
        return _serve(home, mode, signals)
    except TelemetryError as error:
        return _say(f"flwr-telemetryd: {error}", ExitCode.UNUSABLE)
    except OSError as error:
        word = from_os_error(error, str(error.filename or "the home"))
        return _say(f"flwr-telemetryd: {word}", ExitCode.UNUSABLE)
    except TerminatedError:
        return ended_early


def _mode(words: list[str]) -> Mode:
    """What a person or a unit asks for; who is started on demand is spared the parser."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="flwr-telemetryd",
        description="Deliver the events in Flower's telemetry spool.",
        epilog="Exit codes: 0 nothing is left, 1 not all could be delivered now (it is kept), 2 usage, "
        "3 telemetry is off, 4 another sidecar runs, 5 the home cannot be used.",
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--service", action="store_true", help="serve until told to stop")
    modes.add_argument("--once", action="store_true", help="deliver what is there, then end")
    chosen = parser.parse_args(words)
    return Mode.SERVICE if chosen.service else Mode.ONCE if chosen.once else Mode.ON_DEMAND


def _say(word: str, code: ExitCode) -> int:
    with contextlib.suppress(AttributeError, OSError):  # there may be none, or a full one
        sys.stderr.write(f"{word}\n")
    return code


def _serve(home: Home, mode: Mode, signals: Signals) -> int:
    consent = load(home, None).consent
    if not consent.enabled:
        purge.if_asked(home, consent)
        return _off(consent, mode)
    host = home.host()
    if not host.root.is_dir():
        if mode is not Mode.SERVICE and not any(map(anything_waits, known_hosts(home))):
            return ExitCode.OK  # nothing was ever spooled, and nothing is to be created for that
        _create(home, host)
    check_root(host)
    if mode is Mode.SERVICE:
        request_exit(host)
    with held(host, WAIT_S if mode is Mode.ON_DEMAND else 4 * WAIT_S, create=True) as lock:
        if lock.result is LockResult.BUSY:
            if mode is Mode.SERVICE:
                sys.stderr.write("flwr-telemetryd: another sidecar has this home, and did not give way\n")
            return ExitCode.BUSY
        lower_priority()
        set_up_log(host, os.environ, to_stderr=mode is not Mode.ON_DEMAND)
        end = _live(home, mode, lock, signals)
    while mode is Mode.ON_DEMAND and end is ExitReason.IDLE:
        time.sleep(LINGER_S)
        if not load(home, None).consent.enabled or not anything_waits(host):
            break
        with held(host, WAIT_S) as lock:
            if lock.result is LockResult.BUSY:
                break
            end = _live(home, mode, lock, signals)
    return _off(load(home, None).consent, mode) if end is ExitReason.DISABLED else _EXIT_CODES[end]


def request_exit(host: HostPaths) -> None:
    """Ask a sidecar on demand that holds the lock to end, because a service takes over its work.

    It may be ended at any moment without loss. A service is not asked: one is enough.
    """
    presence.signal_sidecar(host, Mode.ON_DEMAND.value, signal.SIGTERM)


def _off(consent: Consent, mode: Mode) -> int:
    """How to end where telemetry is off; only somebody's no keeps a service from being started again."""
    if mode is not Mode.ON_DEMAND:
        sys.stderr.write(f"flwr-telemetryd: telemetry is off: {consent.reason}\n")
    said = not consent.enabled and not consent.malformed and consent.decided_by in {"user file", "site file"}
    return ExitCode.DISABLED if said or mode is not Mode.SERVICE else ExitCode.UNUSABLE


def _live(home: Home, mode: Mode, lock: HostLock, signals: Signals) -> ExitReason:
    sidecar = Sidecar(
        home,
        mode,
        open_sink,
        lock=lock,
        clock=Clock(sleep=signals.sleep),
        manager=ServiceManager.of(os.environ) if mode is Mode.SERVICE else None,
        reload_asked=signals.reload_asked if mode is Mode.SERVICE else lambda: False,
    )
    try:
        return sidecar.run()
    except TerminatedError:
        sidecar.close("terminated")
        raise


def _create(home: Home, host: HostPaths) -> None:
    files.make_home(home.path)
    files.ensure_directory(host.telemetry)
    files.ensure_directory(host.root)


def lower_priority() -> None:
    """Make this process yield to everything else: lowest CPU and I/O priority that a user may take."""
    process = psutil.Process()
    try:
        process.nice(10)
        if hasattr(process, "ionice"):
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
    except (psutil.Error, OSError):
        return  # a container may forbid it; then it is as it is
