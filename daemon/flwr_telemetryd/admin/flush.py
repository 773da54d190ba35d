"""``flwr-telemetry flush``: have a sidecar deliver everything that waits on this host now.

If a sidecar runs, this module asks it by touching ``spool/flush``. If none runs, it starts ``flwr-telemetryd
--once``. It repeats both, with growing pauses, until everything that waited at the call is gone or the time
is over. A ``Retry-After`` is never cut short.

This module never sends a request itself, and it ends the sidecar that it started.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

from flwr_telemetry import launch, machine, packing, presence, settings, spawn
from flwr_telemetry.layout import Home
from flwr_telemetry.pending import Waiting
from flwr_telemetry.settings import Consent

from ..burst import codec
from ..clock import Clock
from ..delivery import retry_after
from ..errors import ExitCode, UnusableHomeError
from ..outbox import archive, contents
from ..outbox.backlog import Backlog, Counter, in_body
from ..outbox.body import decoded
from ..state import State

POLL_S = 0.1
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 8.0
END_WAIT_S = 5.0

_EXPECTED = {ExitCode.OK, ExitCode.UNDELIVERED, ExitCode.BUSY, ExitCode.DISABLED}
"""Exit codes of a sidecar after which another one is worth a try."""

TOO_SHORT = "the time was too short"
"""The reason why something is left, if nothing else is known."""

_PREFIX = "flwr-telemetryd: "
"""Stripped from a sidecar's message, because the command puts its own name in front."""


class Outcome(enum.StrEnum):
    """How a flush ended."""

    DELIVERED = "delivered"
    """Nothing is left of what waited."""

    UNDELIVERED = "undelivered"
    """Something is left."""

    DISABLED = "disabled"
    """Telemetry is off."""

    KEPT = "kept"
    """This process's variables say that nothing is sent, so nothing was done."""


@dataclass(frozen=True, slots=True)
class FlushResult:
    """Result of a flush."""

    outcome: Outcome

    waited: Backlog
    """The backlog at the call."""

    left: Backlog
    """The backlog now, newer events included."""

    rejected: int
    """Events that the collector refused during the flush; they are kept in ``rejected/``."""

    reason: str
    """Why telemetry is off, or why something is left; empty after a full delivery."""

    kept: int = 0
    """Events that were moved to the archive and never sent, because of ``upload = false``."""


def flush(
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
    clock = clock or Clock()
    return _Flush(home, environ, on_progress, clock, clock.monotonic() + timeout_s).run()


def retry_after_reason(left_s: float) -> str:
    """The sentence about a ``Retry-After`` that ends in so many seconds; empty if it has ended."""
    return f"the collector asked for no requests for another {left_s:.0f} s" if left_s > 0 else ""


@dataclass
class _Flush:
    _home: Home
    _environ: Mapping[str, str]
    _on_progress: Callable[[Backlog], None]
    _clock: Clock
    _deadline: float
    _message: str = ""

    def __post_init__(self) -> None:
        self._host = machine.own_host(self._home)
        self._count = Counter([self._host])

    def run(self) -> FlushResult:
        if not (consent := self._consent()).enabled:
            return FlushResult(Outcome.DISABLED, Backlog(0, 0), Backlog(0, 0), 0, consent.reason)
        # A sidecar that runs goes by the files alone, so it must not be asked.
        if (kept_by := settings.upload_refusal(self._environ)) and not self._kept_by():
            return FlushResult(Outcome.KEPT, Backlog(0, 0), Backlog(0, 0), 0, kept_by)
        self._waiting = Waiting(self._host)
        rejected = set(contents.rejected_bodies(self._host))
        before = self._count.left()
        archived = {path: path.stat().st_size for path in archive.archive_files(self._host)}
        if not self._waiting.is_over():
            self._deliver()
        left = self._count.left()
        refused = 0
        for path in set(contents.rejected_bodies(self._host)) - rejected:
            with contextlib.suppress(FileNotFoundError):
                refused += in_body(path)
        # Checked again, because an opt-out may have deleted what waited.
        if not (consent := self._consent()).enabled:
            return FlushResult(Outcome.DISABLED, before, left, refused, consent.reason)
        is_over = self._waiting.is_over()
        outcome = Outcome.DELIVERED if is_over else Outcome.UNDELIVERED
        reason = "" if is_over else self._reason_left()
        return FlushResult(outcome, before, left, refused, reason, self._kept(archived))

    def _consent(self) -> Consent:
        return settings.load(self._home, self._environ).consent

    def _kept_by(self) -> str:
        return settings.load(self._home, None).kept_by

    def _kept(self, before: dict[Path, int]) -> int:
        """The number of events behind these ends of the files of the archive that were never sent."""
        events, is_kept = 0, bool(self._kept_by())
        for path in archive.archive_files(self._host):
            with contextlib.suppress(FileNotFoundError):
                for data, _ in archive.read_archive(path, before.get(path, 0)):
                    body = decoded(data)
                    context = body.get("context")
                    is_marked = isinstance(context, dict) and packing.UPLOAD in context
                    events += codec.count(body) * (is_kept or is_marked)
        return events

    def _deliver(self) -> None:
        """Ask or start a sidecar until nothing is left, the time is over or telemetry is off."""
        pause_s = FIRST_PAUSE_S
        while not self._is_over() and self._consent().enabled:
            if self._retry_after_s() > self._deadline - self._clock.monotonic():
                break
            if presence.alive(self._host):
                launch.request_flush(self._host)
            elif not self._run_once():
                break
            end = self._clock.monotonic() + pause_s
            while not self._is_over() and self._clock.monotonic() < end:
                self._clock.sleep(POLL_S)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _is_over(self) -> bool:
        """Report what is left; whether waiting makes no more sense."""
        self._on_progress(self._count.left())
        return self._waiting.is_over() or self._clock.monotonic() >= self._deadline

    def _run_once(self) -> bool:
        """Run a sidecar to its end; False if another try cannot help."""
        with _sidecar(self._home, self._environ) as process:
            while process.poll() is None and not self._is_over():
                self._clock.sleep(POLL_S)
            code = process.poll()
            if code is None or code < 0 or code in _EXPECTED:
                return True  # also after a kill, because the next sidecar continues its work
            lines = process.communicate()[1].replace(_PREFIX, "").splitlines()
        if code == ExitCode.UNUSABLE:
            raise UnusableHomeError(lines[-1] if lines else f"{self._home.path} cannot be used")
        self._message = f"the sidecar ended with {code}: {lines[-1] if lines else 'no message'}"
        return False

    def _retry_after_s(self) -> float:
        if self._kept_by():
            return 0.0
        # The host's own clock is exact enough here, and reading it touches no file.
        return retry_after.remaining_s(self._host, lambda: self._clock.time_ns() / 1e9)

    def _reason_left(self) -> str:
        reason = self._message or retry_after_reason(self._retry_after_s())
        return reason or State.load(self._host).last_error or TOO_SHORT


@contextlib.contextmanager
def _sidecar(home: Home, environ: Mapping[str, str]) -> Iterator[Popen[str]]:
    """``flwr-telemetryd --once`` as a child, with its standard error; the child ends with the block."""
    once = spawn.sidecar(home, environ, "--once")
    command, env = once.command, once.environment
    with Popen(  # noqa: S603 - nothing in it comes from outside
        command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, errors="replace", cwd=home.path, env=env
    ) as process:
        try:
            yield process
        finally:
            # A sidecar may be ended at any moment, because the next one begins its unfinished work again.
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(END_WAIT_S)
                except TimeoutExpired:
                    process.kill()
