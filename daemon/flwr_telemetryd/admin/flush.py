"""``flwr-telemetry flush``: have a sidecar deliver everything that waits on this host now.

If a sidecar runs, this module asks it by touching ``spool/flush``. If none runs, it starts ``flwr-telemetryd
--once``. It repeats both, with growing pauses, until everything that waited at the call is gone or the time
is over. A ``Retry-After`` is never cut short.

This module never delivers anything itself, and ends the sidecar that it started.
"""

from __future__ import annotations

import contextlib
import enum
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from flwr_telemetry import files, launch, presence, settings
from flwr_telemetry.layout import Home
from flwr_telemetry.pending import Waiting

from ..clock import Clock
from ..delivery import retry_after
from ..errors import ExitCode, UnusableHomeError
from ..outbox import contents
from ..outbox.backlog import Backlog, Counter, in_body
from ..state import State

POLL_S = 0.1
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 8.0
END_WAIT_S = 5.0

_PREFIX = "flwr-telemetryd: "
"""Stripped from a sidecar's message, because the command puts its own name in front."""


class Outcome(enum.Enum):
    """How a flush ended."""

    DELIVERED = "nothing is left of what waited"
    UNDELIVERED = "something is left"
    DISABLED = "telemetry is off"


@dataclass(frozen=True, slots=True)
class FlushResult:
    """Result of a flush."""

    outcome: Outcome

    before: Backlog
    """What waited at the call."""

    left: Backlog
    """What waits now, newer events included."""

    rejected: int
    """Events that the collector refused during the flush; they are kept in ``rejected/``."""

    reason: str
    """Why telemetry is off, or why something is left; empty after a full delivery."""


def drain(
    home: Home,
    environ: Mapping[str, str],
    *,
    timeout_s: float,
    on_progress: Callable[[Backlog], None] = lambda _left: None,
    clock: Clock | None = None,
) -> FlushResult:
    """Wait until everything that waits on this host now is delivered or rejected.

    Args:
        home: the home whose events are delivered.
        environ: this process's variables, for consent and for proxies.
        timeout_s: the longest wait, in seconds.
        on_progress: receives what is left, several times a second.
        clock: the source of time.

    Raises:
        UnusableHomeError: a sidecar cannot work with this home.
        TelemetryError, OSError: this process cannot work with it.
    """
    return _Drain(home, environ, timeout_s, on_progress, clock or Clock()).run()


class _Drain:
    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        timeout_s: float,
        on_progress: Callable[[Backlog], None],
        clock: Clock,
    ) -> None:
        self._home = home
        self._host = home.host()
        self._environ = environ
        self._on_progress = on_progress
        self._clock = clock
        self._deadline = clock.monotonic() + timeout_s
        self._count = Counter([self._host])
        self._message = ""

    def run(self) -> FlushResult:
        consent = settings.load(self._home, self._environ).consent
        if not consent.enabled:
            return FlushResult(Outcome.DISABLED, Backlog(0, 0), Backlog(0, 0), 0, consent.reason)
        self._waiting = Waiting(self._host)
        rejected = set(contents.rejected_bodies(self._host))
        before = self._count.left()
        self._repeat()
        left = self._count.left()
        refused = 0
        for path in set(contents.rejected_bodies(self._host)) - rejected:
            with contextlib.suppress(FileNotFoundError):
                refused += in_body(path)
        # Checked again, because an opt-out may have deleted what waited.
        consent = settings.load(self._home, self._environ).consent
        if not consent.enabled:
            return FlushResult(Outcome.DISABLED, before, left, refused, consent.reason)
        if self._waiting.is_over():
            return FlushResult(Outcome.DELIVERED, before, left, refused, "")
        return FlushResult(Outcome.UNDELIVERED, before, left, refused, self._reason_left())

    def _repeat(self) -> None:
        """Ask or start a sidecar until nothing is left, the time is over or telemetry is off."""
        pause_s = FIRST_PAUSE_S
        while not self._waiting.is_over():
            if not settings.load(self._home, self._environ).consent.enabled:
                break
            if self._retry_after_s() > self._deadline - self._clock.monotonic():
                break
            if presence.alive(self._host):
                self._ask()
            elif not self._run_once():
                break
            self._watch(pause_s)
            if self._clock.monotonic() >= self._deadline:
                break
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _ask(self) -> None:
        """Ask the running sidecar to deliver."""
        files.ensure_directory(self._host.spool)
        files.touch(self._host.flush)
        presence.signal_service(self._host)

    def _run_once(self) -> bool:
        """Run a sidecar to its end; False if another try cannot help."""
        with _sidecar(self._home, self._environ) as (process, log):
            while process.poll() is None and self._report():
                self._clock.sleep(POLL_S)
            code = process.poll()
            log.seek(0)
            lines = log.read().decode(errors="replace").replace(_PREFIX, "").strip().splitlines()
        if code == ExitCode.UNUSABLE:
            raise UnusableHomeError(lines[-1] if lines else f"{self._home.path} cannot be used")
        expected = {ExitCode.OK, ExitCode.UNDELIVERED, ExitCode.BUSY, ExitCode.DISABLED}
        if code is None or code < 0 or code in expected:
            return True  # a killed sidecar is no reason to give up
        self._message = f"the sidecar ended with {code}: {lines[-1] if lines else 'no message'}"
        return False

    def _watch(self, pause_s: float) -> None:
        end = min(self._clock.monotonic() + pause_s, self._deadline)
        while self._report() and self._clock.monotonic() < end:
            self._clock.sleep(POLL_S)

    def _report(self) -> bool:
        """Report what is left; True while waiting makes sense."""
        self._on_progress(self._count.left())
        return not self._waiting.is_over() and self._clock.monotonic() < self._deadline

    def _retry_after_s(self) -> float:
        # The host's own clock is exact enough here, and reading it touches no file.
        return retry_after.remaining_s(self._host, lambda: self._clock.time_ns() / 1e9)

    def _reason_left(self) -> str:
        if self._message:
            return self._message
        wait_s = self._retry_after_s()
        if wait_s > 0:
            return f"the collector asked for no requests for another {wait_s:.0f} s"
        return State.load(self._host).last_error or "the time was too short"


def _nameless_file() -> IO[bytes]:
    """A file without a name, in memory if possible, because a container may have no writable directory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("sidecar"), "w+b")
    return tempfile.TemporaryFile()


@contextlib.contextmanager
def _sidecar(home: Home, environ: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """``flwr-telemetryd --once`` as a child, with its standard error; the child ends with the block."""
    with _nameless_file() as log:
        process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            [sys.executable, "-P", "-m", launch.MODULE, "--once"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=home.path,
            env=launch.sidecar_environment(home, environ),
        )
        try:
            yield process, log
        finally:
            # A sidecar may be ended at any moment, because the next one begins its unfinished work again.
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(END_WAIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
