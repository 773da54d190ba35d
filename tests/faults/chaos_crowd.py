"""The processes of the chaos run: workloads that are killed and replaced, and sidecars that are hunted."""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import psutil

from tests.faults import chaos_writer
from tests.support import processes

_SCRIPT = str(Path(chaos_writer.__file__))
_BEGUN, _DONE, _ASLEEP = "+", "-", "~"
_HAUNTED = 0.5
_LONGEST_STOP_S = 4.0


class Writer:
    """A workload, its forked children included, as long as one of them holds the pipe open."""

    def __init__(self, number: int, kind: str, process: subprocess.Popen[str], pipe: int) -> None:
        self.number, self.kind, self.process, self.pipe = number, kind, process, pipe
        self.rest = b""
        self.children = 0  # that have begun and not said that they are done
        self.wake_at: float | None = None
        self.heard_at = time.monotonic()

    def signal(self, number: signal.Signals, *, whole_group: bool = True) -> None:
        """Reach the workload, with or without its children; it must not have been reaped wholly."""
        with contextlib.suppress(ProcessLookupError):
            if whole_group:
                os.killpg(self.process.pid, number)
            elif self.process.poll() is None:
                self.process.send_signal(number)


class Crowd:
    """So many workloads at any time; what they acknowledged, and when."""

    def __init__(self, home: Path, size: int, seed: int, log: IO[str]) -> None:
        self._home, self._size, self._seed, self._log = home, size, seed, log
        self._chance = random.Random(f"{seed} crowd")
        self._selector = selectors.DefaultSelector()
        self._living: list[Writer] = []
        self.acknowledged: dict[int, float] = {}
        self.refusals: list[str] = []
        self.started = self.killed = self.children_killed = self.stopped = self.stopped_themselves = 0

    def replace(self) -> None:
        """Start a workload for each that has ended."""
        while sum(writer.process.poll() is None for writer in self._living) < self._size:
            self._start()

    def _start(self) -> None:
        kind = self._chance.choice(chaos_writer.KINDS)
        first = self.started * chaos_writer.SERIALS_PER_WRITER
        haunted = str(int(self._chance.random() < _HAUNTED))
        ours, theirs = os.pipe()
        process = processes.start(
            self._home,
            [_SCRIPT, kind, str(first), f"{self._seed} {self.started}", haunted],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=self._log,
            start_new_session=True,  # so that children can be reached, too, and nobody else
        )
        os.close(theirs)
        writer = Writer(self.started, kind, process, ours)
        self._living.append(writer)
        self._selector.register(ours, selectors.EVENT_READ, writer)
        self.started += 1

    # What they say

    def listen(self, wait_s: float) -> None:
        """Read what was acknowledged; let go of workloads of which nobody is left."""
        for key, _ in self._selector.select(max(wait_s, 0.0)):
            writer: Writer = key.data
            data = os.read(writer.pipe, 1 << 16)
            if not data:
                self._bury(writer)
                continue
            writer.heard_at = time.monotonic()
            *lines, writer.rest = (writer.rest + data).split(b"\n")
            for line in lines:
                self._hear(writer, line.decode())
        now = time.monotonic()
        for writer in self._living:
            if writer.wake_at is not None and now >= writer.wake_at:
                writer.wake_at = None
                writer.signal(signal.SIGCONT)

    def _hear(self, writer: Writer, line: str) -> None:
        if line.isdigit():
            self.acknowledged[int(line)] = time.time()
        elif line == _ASLEEP:
            self.stopped_themselves += 1
            self._wake_later(writer)
        elif line in (_BEGUN, _DONE):
            writer.children += 1 if line == _BEGUN else -1
        else:
            self.refusals.append(f"{writer.kind} {line}")

    def _wake_later(self, writer: Writer) -> None:
        writer.wake_at = time.monotonic() + self._chance.uniform(0.005, _LONGEST_STOP_S)

    def _bury(self, writer: Writer) -> None:
        """The pipe is closed: all of them are gone, or will be in a moment."""
        self._selector.unregister(writer.pipe)
        os.close(writer.pipe)
        self._living.remove(writer)
        code = writer.process.wait(processes.PATIENCE_S)
        if code > 0:
            self.refusals.append(f"workload {writer.number} ({writer.kind}) ended with {code}")
        self.killed += code < 0
        self.children_killed += writer.children

    # What is done to them

    def kill_one(self) -> None:
        """SIGKILL to a workload, with its children or without them."""
        if self._living:
            writer = self._chance.choice(self._living)
            writer.signal(signal.SIGKILL, whole_group=self._chance.random() < 0.5)

    def stop_one(self) -> None:
        """SIGSTOP to a workload, and SIGCONT after a while."""
        if self._living:
            writer = self._chance.choice(self._living)
            writer.signal(signal.SIGSTOP)
            self.stopped += 1
            self._wake_later(writer)

    def wake_all(self) -> None:
        """SIGCONT to everybody, as one may have stopped only after his own; end those who hang."""
        for writer in self._living:
            writer.signal(signal.SIGCONT)
            if time.monotonic() > writer.heard_at + processes.PATIENCE_S:
                self.refusals.append(f"workload {writer.number} ({writer.kind}) hangs")
                writer.signal(signal.SIGKILL)

    def end(self) -> None:
        """Kill everybody, and read what they had still to say."""
        deadline_s = time.monotonic() + processes.PATIENCE_S
        while self._living:
            assert time.monotonic() < deadline_s, f"{len(self._living)} writers do not end"
            for writer in self._living:
                writer.signal(signal.SIGKILL)
            self.listen(0.1)
        self._selector.close()


class Hunt:
    """Finds the sidecars of a home, whoever started them, and kills or stops them."""

    def __init__(self, home: Path, seed: int) -> None:
        self._home = home
        self._chance = random.Random(f"{seed} hunt")
        self._lock = threading.Lock()
        self._game: list[psutil.Process] = []
        self._asleep: list[tuple[float, psutil.Process]] = []
        self.seen: set[psutil.Process] = set()
        self.killed: set[psutil.Process] = set()
        self.terminated = self.stopped = 0
        self._eager = 0.1

    def change_mood(self) -> None:
        """Draw anew how often a strike is one: sidecars die at once for a while, then get far."""
        self._eager = self._chance.choice((0.03, 0.1, 0.6))

    def look(self) -> None:
        """See who lives; wake who has slept enough."""
        found = []
        for pid in processes.sidecars(self._home):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
        now = time.monotonic()
        with self._lock:
            self._game = found
            self.seen.update(found)
            due = [process for wake_at, process in self._asleep if wake_at <= now]
            self._asleep = [entry for entry in self._asleep if entry[0] > now]
        for process in due:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def shoot(self) -> None:
        """SIGKILL to one that was seen last; may be called by any thread."""
        with self._lock, contextlib.suppress(psutil.Error):
            if self._game:
                victim = self._chance.choice(self._game)
                victim.kill()  # psutil looks whether the number still means this process
                self.killed.add(victim)

    def strike(self) -> None:
        """SIGKILL to one; now and then SIGTERM, or SIGSTOP for a while."""
        if self._chance.random() >= self._eager:
            return
        self.look()
        fate = self._chance.random()
        if fate < 0.7:
            self.shoot()
            return
        with self._lock, contextlib.suppress(psutil.Error):
            if not self._game:
                return
            victim = self._chance.choice(self._game)
            if fate < 0.8:
                victim.terminate()
                self.terminated += 1
            else:
                victim.suspend()
                self.stopped += 1
                wake_at = time.monotonic() + self._chance.uniform(0.005, _LONGEST_STOP_S)
                self._asleep.append((wake_at, victim))


class Errands:
    """Commands that are run beside, and reaped when they have ended."""

    def __init__(self, home: Path, log: IO[str]) -> None:
        self._home, self._log = home, log
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> None:
        """Start `python -m` with these arguments."""
        self._running = [process for process in self._running if process.poll() is None]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": self._log}
        self._running.append(processes.start(self._home, ["-m", *arguments], **options))

    def end(self) -> None:
        """Kill what still runs."""
        for process in self._running:
            process.kill()
            process.wait(processes.PATIENCE_S)
