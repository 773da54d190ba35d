"""A minute of chaos on Windows: ``python -m tests.windows.chaos SECONDS``.

Workloads report numbered events by ``event()``, and tell each one that was acknowledged. They start sidecars
by themselves. Workloads and sidecars are killed at random moments (``TerminateProcess``). In the end
``flwr-telemetryd --once`` delivers what is left. Then every acknowledged event is at the collector, and none
is there under two keys. The exit code is 0 if all is well.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.support import homes, processes
from tests.support.collector import Collector

WRITERS = 3
SETTLE_S = 240.0

WORKLOAD = """
import itertools, random, sys, time
from flwr_telemetry import event
for number in itertools.count():
    answer = event("PING", {"who": sys.argv[1], "n": number, "pad": "x" * random.randrange(400)})
    if answer.exception() is None and answer.result() == "spooled":
        print(number, flush=True)
    else:
        print("refused", answer.exception(), file=sys.stderr, flush=True)
    if number % 50 == 49:
        time.sleep(random.random() / 50)
"""


class Workloads:
    """The living workloads, and the events that were acknowledged, as (workload, number)."""

    def __init__(self, home):
        self._home = home
        self._names = iter(range(10**6))
        self._threads = []
        self.living = []
        self.busy = set()
        self.acknowledged = set()
        self.killed = 0

    def start(self):
        who = str(next(self._names))
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        child = processes.start(self._home, ["-c", WORKLOAD, who], **options)
        thread = threading.Thread(target=self._listen, args=(child, who))
        thread.start()
        self._threads.append(thread)
        self.living.append(child)

    def _listen(self, child, who):
        for line in child.stdout:
            if line.endswith("\n"):
                self.acknowledged.add((who, int(line)))
                self.busy.add(child)

    def kill(self, at):
        """Kill a workload and start another, but only amid its events."""
        if self.living[at] in self.busy:
            self._end(at)
            self.start()

    def _end(self, at):
        child = self.living.pop(at)
        child.kill()
        child.wait()
        self.killed += 1

    def end(self):
        while self.living:
            self._end(0)
        for thread in self._threads:
            thread.join()


def kill_sidecar(home):
    """Kill the process that `sidecar.json` names; whether one was there."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = json.loads((homes.host(home) / "sidecar.json").read_text())
        if not told["ended"] and processes._lives(told["pid"]):
            os.kill(told["pid"], processes.KILL)
            return True
    return False


def settle(home):
    """Deliver what is left; a sidecar that still runs does a part of it."""
    end = time.monotonic() + SETTLE_S
    while (done := processes.once(home, timeout=SETTLE_S)).returncode != 0:
        assert time.monotonic() < end, f"--once ended with {done.returncode}: {done.stderr}"
        time.sleep(1)


def run(seconds, seed):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory, Collector() as collector:
        home = Path(directory, "home", ".flwr")
        home.parent.mkdir()
        homes.configure(home, collector.url, spool_max_mib=512, respawn_s=5)
        workloads, sidecars = Workloads(home), 0
        for _ in range(WRITERS):
            workloads.start()
        processes.wait_until(lambda: workloads.busy, SETTLE_S, "an event")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.3, 1.5))
            if chance.random() < 0.5:
                workloads.kill(chance.randrange(WRITERS))
            else:
                sidecars += kill_sidecar(home)
        workloads.end()
        settle(home)
        processes.end_all(home)
        found = Counter(
            (event["event_details"]["who"], event["event_details"]["n"]) for event in collector.events()
        )
    lost = workloads.acknowledged - set(found)
    doubled = [event for event, count in found.items() if count > 1]
    sys.stdout.write(
        f"{seconds:g} s, seed {seed}: {len(workloads.acknowledged)} events acknowledged, "
        f"{workloads.killed} workloads and {sidecars} sidecars killed, {len(found)} events delivered, "
        f"{len(lost)} lost, {len(doubled)} doubled\n"
    )
    return int(bool(lost or doubled or not found))


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else random.randrange(10**6)))
