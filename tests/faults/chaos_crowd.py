"""The processes of the chaos run: workloads that are killed and replaced, and sidecars that are hunted."""

import contextlib
import os
import random
import selectors
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.faults import chaos_writer
from tests.support import processes

_SCRIPT = str(Path(chaos_writer.__file__))
_BEGUN, _DONE, _ASLEEP = "+", "-", "~"
_HAUNTED = 0.5
_LONGEST_STOP_S = 4.0


class Writer:
    """A workload, its forked children included, as long as one of them holds the pipe open."""

    def __init__(self, number, kind, process, pipe):
        self.number, self.kind, self.process, self.pipe = number, kind, process, pipe
        self.rest = b""
        self.children = 0  # that have begun and not said that they are done
        self.wake_at = None
        self.heard_at = time.monotonic()

    def signal(self, number, *, whole_group=True):
        """Reach the workload, with or without its children; it must not have been reaped wholly."""
        with contextlib.suppress(ProcessLookupError):
            if whole_group:
                os.killpg(self.process.pid, number)
            elif self.process.poll() is None:
                self.process.send_signal(number)


class Crowd:
    """So many workloads at any time; `acknowledged` gets the events that they acknowledge."""

    def __init__(self, home, size, seed, log, acknowledged):
        self._home, self._size, self._seed, self._log = home, size, seed, log
        self._chance = random.Random(f"{seed} crowd")
        self._selector = selectors.DefaultSelector()
        self._living = []
        self._acknowledged = acknowledged
        self.refusals = []
        self.counts = Counter()

    def replace(self):
        while sum(writer.process.poll() is None for writer in self._living) < self._size:
            self._start()

    def _start(self):
        kind = self._chance.choice(chaos_writer.KINDS)
        number = self.counts["writers_started"]
        first = number * chaos_writer.SERIALS_PER_WRITER
        haunted = str(int(self._chance.random() < _HAUNTED))
        ours, theirs = os.pipe()
        process = processes.start(
            self._home,
            [_SCRIPT, kind, str(first), f"{self._seed} {number}", haunted],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=self._log,
            start_new_session=True,  # so that children can be reached, too, and nobody else
        )
        os.close(theirs)
        writer = Writer(number, kind, process, ours)
        self._living.append(writer)
        self._selector.register(ours, selectors.EVENT_READ, writer)
        self.counts["writers_started"] += 1

    # What they say

    def listen(self, wait_s):
        for key, _ in self._selector.select(max(wait_s, 0.0)):
            writer = key.data
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

    def _hear(self, writer, line):
        if line.isdigit():
            self._acknowledged.add(int(line))
        elif line == _ASLEEP:
            self.counts["writers_stopped_amid_an_append"] += 1
            self._wake_later(writer)
        elif line in (_BEGUN, _DONE):
            writer.children += 1 if line == _BEGUN else -1
        else:
            self.refusals.append(f"{writer.kind} {line}")

    def _wake_later(self, writer):
        writer.wake_at = time.monotonic() + self._chance.uniform(0.005, _LONGEST_STOP_S)

    def _bury(self, writer):
        """The pipe is closed: all of them are gone, or will be in a moment."""
        self._selector.unregister(writer.pipe)
        os.close(writer.pipe)
        self._living.remove(writer)
        code = writer.process.wait(processes.PATIENCE_S)
        if code > 0:
            self.refusals.append(f"workload {writer.number} ({writer.kind}) ended with {code}")
        self.counts["writers_killed"] += code < 0
        self.counts["forked_children_killed"] += writer.children

    # What is done to them

    def kill_one(self):
        if self._living:
            writer = self._chance.choice(self._living)
            writer.signal(signal.SIGKILL, whole_group=self._chance.random() < 0.5)

    def stop_one(self):
        if self._living:
            writer = self._chance.choice(self._living)
            writer.signal(signal.SIGSTOP)
            self.counts["writers_stopped"] += 1
            self._wake_later(writer)

    def wake_all(self):
        """SIGCONT to all, as a workload may stop after its own SIGCONT; kill those that hang."""
        for writer in self._living:
            writer.signal(signal.SIGCONT)
            if time.monotonic() > writer.heard_at + processes.PATIENCE_S:
                self.refusals.append(f"workload {writer.number} ({writer.kind}) hangs")
                writer.signal(signal.SIGKILL)

    def end(self):
        deadline_s = time.monotonic() + processes.PATIENCE_S
        while self._living:
            assert time.monotonic() < deadline_s, f"{len(self._living)} writers do not end"
            for writer in self._living:
                writer.signal(signal.SIGKILL)
            self.listen(0.1)
        self._selector.close()


class Hunt:
    """Finds all sidecars of a home, and kills or stops them."""

    def __init__(self, home, seed):
        self._home = home
        self._chance = random.Random(f"{seed} hunt")
        self._lock = threading.Lock()
        self._game = []
        self._asleep = []
        self.killed = set()
        self.counts = Counter()
        self._eager = 0.1

    def change_mood(self):
        """Draw anew how often a strike is one: sidecars die at once for a while, then get far."""
        self._eager = self._chance.choice((0.03, 0.1, 0.6))

    def look(self):
        found = []
        for pid in processes.sidecars(self._home):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
        now = time.monotonic()
        with self._lock:
            self._game = found
            due = [process for wake_at, process in self._asleep if wake_at <= now]
            self._asleep = [entry for entry in self._asleep if entry[0] > now]
        for process in due:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def shoot(self):
        """SIGKILL to one that was seen last; may be called by any thread."""
        with self._lock, contextlib.suppress(psutil.Error):
            if self._game:
                victim = self._chance.choice(self._game)
                victim.kill()  # psutil looks whether the number still means this process
                self.killed.add(victim)

    def strike(self):
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
                self.counts["sidecars_terminated"] += 1
            else:
                victim.suspend()
                self.counts["sidecars_stopped"] += 1
                wake_at = time.monotonic() + self._chance.uniform(0.005, _LONGEST_STOP_S)
                self._asleep.append((wake_at, victim))


class Errands:
    """Commands that are run beside, and reaped when they have ended."""

    def __init__(self, home, log):
        self._home, self._log = home, log
        self._running = []

    def start(self, *arguments):
        self._running = [process for process in self._running if process.poll() is None]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": self._log}
        self._running.append(processes.start(self._home, ["-m", *arguments], **options))

    def end(self):
        for process in self._running:
            process.kill()
            process.wait(processes.PATIENCE_S)
