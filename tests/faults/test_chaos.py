"""Promise 4 under chaos: workloads and sidecars die and stop at random, and the collector misbehaves.

In the end everybody is killed, the collector takes everything, and ``--once`` delivers the rest. Then each
acknowledged event is at the collector, and counts once. One that was under way is there at most once. The
archive holds what the collector took, and nothing was dropped or rejected.

Where locks are pretended, every sidecar takes itself for the only one. Where they are refused, one defers
to another that reports itself alive. There only sidecars are killed. A longer run, like an earlier one::

    CHAOS_SECONDS=600 CHAOS_SEED=7 pytest -n0 -rP tests/faults/test_chaos.py
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.faults.ledger import Ledger
from tests.support import homes, processes
from tests.support.collector import ANSWERS, Answer, Collector
from tests.support.wire import expand

NO_LOCKS = Path(__file__).parent.parent / "support" / "nolocks"
SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
LONGEST_FACTOR = 5  # where a busy machine lets too little happen
SETTLE_S = 600.0  # an upper bound for what hangs
UNTOUCHED_S = 700.0  # longer than a batch of an unknown owner has to be left alone before it is taken over
LONGEST_STOP_S = 4.0
WRITERS, SIDECARS = 5, 3
EACH = 1_000_000  # serials of a workload; its forked children have the second half

WRITER = f"""
import itertools, random, signal, threading, time
kind, first, chance = sys.argv[1], int(sys.argv[2]), random.Random(sys.argv[3])
serials = itertools.count(first)

def emit(count=1):
    for n in itertools.islice(serials, count):
        told = outcome(event(("PING", "PONG")[n // 16 % 2], {{"n": n, "half": n / 2}}))
        os.write(1, b"%d\\n" % n if told == "spooled" else f"{{n}} {{told}}\\n".encode())

def plain():
    while True:
        emit(chance.choice((1, 1, 2, 40)))
        time.sleep(chance.uniform(0, 0.2))

def forks():
    global serials
    for number in range(400):
        emit(3)
        if chance.random() < 0.3 and os.fork() == 0:
            serials = itertools.count(first + {EACH // 2} + 1000 * number)
            for _ in range(10):
                emit(2)
                time.sleep(0.03)
            os._exit(0)
        time.sleep(0.2)

def threads():
    for _ in range(2):
        threading.Thread(target=plain, daemon=True).start()
    forks()

def signals():
    emit()  # a handler that interrupts the imports of a first event may lose its own
    signal.signal(signal.SIGALRM, lambda *_: emit())
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.1)
    plain()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
globals()[kind]()
"""
KINDS = ("plain", "forks", "threads", "signals")

# Keeps so many sidecars alive, forked from itself since that is quick, until its standard input ends.
KEEPER = """
import collections, json, os, random, select, signal, sys
import encodings.idna, psutil, flwr_telemetryd.__main__, flwr_telemetryd.delivery.http

count, chance = int(sys.argv[1]), random.Random(sys.argv[2])
living, ends, serve = set(), collections.Counter(), True
while serve or living:
    if serve and len(living) < count:
        mode = chance.choice([["--once"], ["--once"], ["--service"], []])
        pid = os.fork()
        if pid == 0:
            for stream in range(3):
                os.dup2(os.open(os.devnull, os.O_RDWR), stream)
            status = 70
            try:
                status = flwr_telemetryd.__main__.main(mode)
            except SystemExit as end:
                status = end.code
            finally:
                os._exit(status)
        living.add(pid)
    elif serve:
        serve = not select.select([sys.stdin], [], [], chance.uniform(0, 0.05))[0]
    for pid in sorted(living):
        if not serve:
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, os.WNOHANG if serve else 0)
        if ended:
            living.discard(pid)
            ends[os.waitstatus_to_exitcode(status)] += 1
print(json.dumps(ends))
"""
GOOD = [Answer(200), Answer(200), Answer(204)]
BAD = [
    *(ANSWERS[name] for name in ("429", "503", "500", "302", "retry at once", "reset", "close")),
    *(ANSWERS[name] for name in ("take and reset", "take and close", "take and fail")),
    Answer(429, {"Retry-After": "1"}),
    Answer(503, manner="drip"),
    Answer(manner="drip", took=True),
    Answer(manner="hang"),
    Answer(manner="hang", took=True),
]


def serials(body):
    """The serials of the events in a body; the text of an event that no workload emits."""
    found = []
    for event in expand(body):
        n = event["event_details"].get("n")
        ours = type(n) is int and event["event_details"] == {"n": n, "half": n / 2}
        ours = ours and event["event_type"] == ("PING", "PONG")[n // 16 % 2]
        found.append(n if ours else json.dumps(event)[:300])
    return tuple(found)


class Chaos:
    """A home, its crowd of workloads and sidecars, and the collector, whose answers are drawn."""

    def __init__(self, home, locks, seed, collector):
        self.home, self.collector, self._chance = home, collector, random.Random(seed)
        self.is_locked = locks == "working"
        self.env = (
            {} if self.is_locked else {"PYTHONPATH": str(NO_LOCKS), "TEST_LOCKS": locks, **processes.NEVER}
        )
        ours = SimpleNamespace(issuperset=lambda events: {*map(type, events)} <= {int})
        self.ledger = Ledger(serials, ours)
        self.counts = Counter()
        self.told, self.log = home.with_name("told"), home.with_name("log")
        self._failing, self._writers, self._asleep, self._game = 0.1, [], [], []
        self._lock = threading.Lock()
        self._configure()
        collector.answer_by(self._decide)

    def run(self, seconds):
        """Make chaos, then order; the faults."""
        began = time.monotonic()
        words = ["-W", "ignore", "-c", KEEPER, str(SIDECARS), str(self._chance.random())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with processes.start(self.home, words, self.env, **pipes) as self._keeper:
            while (passed_s := time.monotonic() - began) < seconds or (
                passed_s < LONGEST_FACTOR * seconds and not self._is_enough(seconds)
            ):
                self._replace()
                self._act()
                time.sleep(self._chance.expovariate(10))
            for writer in self._writers:
                self._signal(writer, signal.SIGKILL)
                writer.wait()
            ends = json.loads(self._keeper.communicate(timeout=processes.PATIENCE_S)[0])
        processes.end_all(self.home)
        self._settle()
        return [
            *self._faults(),
            *(f"a sidecar ended with {end}" for end in ends.keys() - {*"014", "-9", "-15"}),
        ]

    def _is_enough(self, seconds):
        return self.counts["sidecars killed"] >= seconds / 4 and len(self.collector.requests) >= seconds

    # Workloads

    def _replace(self):
        for writer in [one for one in self._writers if one.poll() is not None]:
            self._writers.remove(writer)
            self.counts["writers killed"] += writer.returncode < 0
            if writer.returncode > 0:
                self.ledger.faults.append(f"a workload ended with {writer.returncode}")
        while len(self._writers) < WRITERS:
            number = self.counts["writers"]
            self.counts["writers"] += 1
            words = [self._chance.choice(KINDS), str(number * EACH), str(self._chance.random())]
            with self.told.open("ab") as told, self.log.open("ab") as log:
                writer = processes.start(
                    self.home,
                    ["-W", "ignore", "-c", processes.PRELUDE + WRITER, *words],
                    self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=log,
                    start_new_session=True,  # so that its children can be reached, too, and nobody else
                )
            self._writers.append(writer)

    @staticmethod
    def _signal(writer, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(writer.pid, number)

    # What is done to them, and to sidecars

    def _act(self):
        acts = [self._shoot] * 5 + [self._configure, self._change_mood, self._flush, self._disturb] * 2
        if self.is_locked:
            acts += [self._kill_writer, self._stop_writer, self._wake_writers, self._stop_sidecar] * 2
        self._look()
        self._chance.choice(acts)()

    def _look(self):
        """Find the sidecars, and wake what has slept for long enough."""
        game = []
        for pid in processes.sidecars(self.home):
            with contextlib.suppress(psutil.Error):
                game += [psutil.Process(pid)] if pid != self._keeper.pid else []
        self._game = game
        due = [wake for wake_at, wake in self._asleep if wake_at <= time.monotonic()]
        self._asleep = [entry for entry in self._asleep if entry[1] not in due]
        for wake in due:
            with contextlib.suppress(psutil.Error):
                wake()

    def _wake_later(self, wake):
        self._asleep.append((time.monotonic() + self._chance.uniform(0.005, LONGEST_STOP_S), wake))

    def _shoot(self):
        """SIGKILL to a sidecar; from any thread."""
        with contextlib.suppress(psutil.Error, IndexError):
            self._chance.choice(self._game).kill()  # psutil looks whether the number still means this process
            self.counts["sidecars killed"] += 1

    def _stop_sidecar(self):
        with contextlib.suppress(psutil.Error, IndexError):
            victim = self._chance.choice(self._game)
            if self._chance.random() < 0.2:
                victim.terminate()
            else:
                victim.suspend()
                self._wake_later(victim.resume)

    def _kill_writer(self):
        self._signal(self._chance.choice(self._writers), signal.SIGKILL)

    def _stop_writer(self):
        self._signal(self._chance.choice(self._writers), signal.SIGSTOP)

    def _wake_writers(self):
        for writer in self._writers:
            self._signal(writer, signal.SIGCONT)

    def _disturb(self):
        """State files go, as if the 90 s were over for which a killed service counts as one that serves."""
        for path in homes.find(homes.telemetry(self.home), "service-*.json"):
            path.unlink(missing_ok=True)
        (homes.host(self.home) / "sidecar.json").unlink(missing_ok=True)

    def _flush(self):
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(homes.spool(self.home) / "flush", os.O_WRONLY | os.O_CREAT, 0o600))

    def _configure(self):
        """Other settings; short times, so that much happens."""
        draw = self._chance.uniform
        homes.configure(
            self.home,
            self.collector.url,
            burst_window_s=draw(0, 0.3),
            idle_exit_s=draw(0, 3),
            respawn_s=self._chance.choice([0, 0, 0.5]),
            backoff_s=draw(0, 0.05),
            backoff_max_s=draw(0.05, 0.3),
            request_deadline_s=draw(0.3, 1.5),
            offline_exit_s=self._chance.choice([2, 60, 600]),
            bursts=self._chance.random() < 0.9,
            sent_max_mib=4096,  # so that the archive can be held against what was taken
        )

    # The collector

    def _change_mood(self):
        self._failing = self._chance.choice((0.05, 0.2, 0.5, 0.9))

    def _decide(self, request):
        """Answer in any way there is; bursts are refused now and then, and sidecars die about that time."""
        with self._lock:
            answer = self._chance.choice(BAD if self._chance.random() < self._failing else GOOD)
            if answer.accepts and b'"burst":' in request.body and self._chance.random() < 0.1:
                answer = Answer(422)
            if self._chance.random() < 0.03:
                threading.Timer(self._chance.uniform(0, 0.01), self._shoot).start()
            self.ledger.hear(request)
            return self.ledger.decide(request, answer)

    # The end

    def _settle(self):
        """Deliver what is left."""
        self.collector.answer_by(lambda request: self.ledger.decide(request, Answer(200)))
        for batch in [] if self.is_locked else homes.host(self.home).glob("work/*"):
            homes.age(batch, UNTOUCHED_S)
        processes.wait_until(
            lambda: processes.once(self.home, self.env).returncode == 0 and not homes.unsent_files(self.home),
            SETTLE_S,
            "the delivery of what is left",
        )

    def _faults(self):
        """Compare the acknowledged events with the accepted ones, and with the files in the home."""
        lines = self.told.read_text().splitlines()
        numbers = [line for line in lines if line.isdigit()]
        self.ledger.acknowledged.update(map(int, numbers))
        taken, archived = self.ledger.accepted.keys(), self._archived()
        shown = processes.command(self.home, "status", "--json")
        status = json.loads(shown.stdout)
        counters = status["totals"]["counters"]
        logs = [self.log, *homes.host(self.home).glob("sidecar.log*")]
        wrong = {
            "unexpected": self.ledger.faults,
            "an answer of event()": [line for line in lines if not line.isdigit()],
            "acknowledged and lost": self.ledger.lost(taken),
            "under two keys": self.ledger.doubled().items(),
            "taken and not in the archive": taken - archived.keys(),
            "in two bodies of the archive": [n for n, times in archived.items() if times > 1],
            "emitted by nobody": [n for n in taken if n >= self.counts["writers"] * EACH],
            "rejected": homes.rejected(self.home),
            "told by `status`": status["problems"],
            "a counter": [name for name in ("dropped", "rejected") if counters[name]],
            "a log with a traceback": [log for log in logs if b"Traceback (most" in log.read_bytes()],
            "a process that is left": processes.processes_of(self.home).items(),
            "damage": ["too much"] if counters["damaged"] > 9 * self.counts["writers killed"] else [],
        }
        told = {"acknowledged": len(numbers), "taken": len(taken), "requests": len(self.collector.requests)}
        print({**self.counts, **told})  # noqa: T201
        assert told["acknowledged"]
        assert self.counts["sidecars killed"]
        return [
            f"{len(found)} {what}: {sorted(map(str, found))[:20]}" for what, found in wrong.items() if found
        ]

    def _archived(self):
        """Give how many bodies of the archive hold each serial."""
        found, seen = Counter(), set()
        for line in homes.sent(self.home):
            digest = hashlib.sha256(line).digest()
            if digest not in seen:  # a body that was accepted twice, under one key, is there twice
                seen.add(digest)
                with contextlib.suppress(ValueError):  # its writer was killed; the body comes again
                    found.update(serials(line))
        return found


@pytest.mark.long
@pytest.mark.parametrize(("locks", "share"), [("working", 1), ("pretended", 4), ("refused", 4)])
def test_chaos_loses_nothing_and_doubles_nothing(home, locks, share):
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}", flush=True)  # noqa: T201
    home.parent.mkdir(exist_ok=True)
    with Collector() as collector:
        faults = Chaos(home, locks, seed, collector).run(SECONDS / share)
    assert not faults, "\n".join(faults)
