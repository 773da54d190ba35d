"""Writers and a service on one host, killed and stopped at random: ``storm.py WANTED ACKNOWLEDGEMENTS``.

WANTED is JSON: ``seconds``, ``writers`` (how many at a time) and ``seed``. Counts are printed at the end.
"""

import collections
import contextlib
import json
import random
import signal
import subprocess
import sys
import time

PYTHON = "/opt/product/bin/python3"
KILL_WRITER_S, STOP_WRITER_S, KILL_SERVICE_S = 5.0, 1.5, 2.5
"""The mean times between two such acts."""


class Storm:
    """The processes of a host, and what happens to them."""

    def __init__(self, seed, notes):
        self._chance = random.Random(seed)
        self._notes = notes
        self._writers, self._service = [], None
        self._asleep = {}
        self.counts = collections.Counter()

    def rage(self, seconds, writers):
        acts = {
            self._kill_writer: KILL_WRITER_S,
            self._stop_writer: STOP_WRITER_S,
            self._kill_service: KILL_SERVICE_S,
        }
        due = {act: self._in(mean_s) for act, mean_s in acts.items()}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._keep(writers)
            for act in [act for act, at in due.items() if at <= time.monotonic()]:
                act()
                due[act] = self._in(acts[act])
            time.sleep(0.02)
        self._end()

    def _in(self, mean_s):
        return time.monotonic() + self._chance.expovariate(1 / mean_s)

    def _keep(self, writers):
        """Replace what has ended, and wake what has slept long enough."""
        for process in [one for one, until in self._asleep.items() if until <= time.monotonic()]:
            process.send_signal(signal.SIGCONT)
            del self._asleep[process]
        self._writers = [process for process in self._writers if process.poll() is None]
        while len(self._writers) < writers:
            count = self._chance.choice([20, 200, 1000])
            self._writers.append(self._start("/tools/writer.py", str(count), "ragged", self._notes))
        if self._service is None or self._service.poll() is not None:
            self._service = self._start("-P", "-m", "flwr_telemetryd", "--service")

    def _start(self, *words):
        self.counts[words[0].replace("-P", "service")] += 1
        return subprocess.Popen([PYTHON, *words], stdin=subprocess.DEVNULL)

    def _kill_writer(self):
        self._chance.choice(self._writers).kill()
        self.counts["killed writers"] += 1

    def _stop_writer(self):
        process = self._chance.choice(self._writers)
        if process not in self._asleep:
            process.send_signal(signal.SIGSTOP)
            self._asleep[process] = time.monotonic() + self._chance.choice([0.01, 0.1, 1.5, 4])
            self.counts["stopped writers"] += 1

    def _kill_service(self):
        self._service.kill()
        self.counts["killed services"] += 1

    def _end(self):
        for process in (*self._writers, self._service):
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()


def main(wanted, notes):
    options = json.loads(wanted)
    storm = Storm(options["seed"], notes)
    storm.rage(options["seconds"], options["writers"])
    print(json.dumps(storm.counts))  # noqa: T201 - the rig reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
