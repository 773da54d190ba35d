"""The chaos run: ``python -m tests.faults.chaos --minutes N --seed S``.

Real workloads (``chaos_writer.py``) emit numbered events and tell which of them event() acknowledged. They
start sidecars by themselves; more are started beside them (``--once``, ``--service``, `flwr-telemetry
flush`). Workloads and sidecars are killed, stopped and woken at random for the whole time, while the
collector (``chaos_collector.py``) answers in every way there is, breaks off, hangs, or is down, settings
change, and ``spool/flush`` and ``sidecar.json`` come and go. Then everybody is killed, the collector takes
everything, and ``flwr-telemetryd --once`` delivers what is left. In the end

- every acknowledged event is at the collector, and after de-duplication by key exactly once;
- one that was not acknowledged, as its process died amid the call, is there at most once;
- the archive holds all that the collector took, nothing was dropped or rejected, nothing unsent and no
  process is left, and no more is damaged than workloads were killed.

The seed decides on all that is drawn (settings, who works how, who is killed when, what is answered). Two
runs of one seed are alike, but not equal: when the system runs whom is not ours to say. A run that fails
keeps its directory. The exit code is 0 if all is well, else 1.
"""

import argparse
import contextlib
import hashlib
import heapq
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults import chaos_writer
from tests.faults.chaos_collector import MoodyCollector, serials
from tests.faults.chaos_crowd import Crowd, Errands, Hunt
from tests.support import homes, processes

_SETTLE_S = 600.0  # an upper bound for what hangs
_LOOK_S = 0.4
_LONGEST_FACTOR = 5
_SHOWN = 20  # of each kind of fault
_NOT_INHERITED = "DO_NOT_TRACK SLURM_JOB_ID PBS_JOBID LSB_JOBID FLUX_JOB_ID JOB_ID".split()


class Chaos:
    """One run of at least so many seconds, longer where a busy machine lets too little happen."""

    def __init__(self, home, seconds, seed):
        self.home, self._seconds, self._seed = home, seconds, seed
        self._chance = random.Random(f"{seed} conductor")
        self._restless = self._chance.uniform(0.7, 1.5)  # factor of all mean times between two acts
        self._numbers = itertools.count()
        self._agenda = []
        self._process_log = home.with_name("processes.log")

    def run(self):
        """Make chaos, then order; what came of it."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with self._process_log.open("a") as log, contextlib.ExitStack() as at_exit:
            at_exit.callback(processes.end_all, self.home)
            self._hunt = Hunt(self.home, self._seed)
            moods = random.Random(f"{self._seed} collector")
            self._collector = at_exit.enter_context(MoodyCollector(moods, self._hunt.shoot))
            self._configure()
            size, acknowledged = self._chance.randrange(4, 9), self._collector.ledger.acknowledged
            self._crowd = Crowd(self.home, size, self._seed, log, acknowledged)
            at_exit.callback(self._crowd.end)
            self._errands = Errands(self.home, log)
            at_exit.callback(self._errands.end)
            self._make_chaos(time.monotonic() + self._seconds)
            self._make_order()
            settled = self._settle()
            left = processes.processes_of(self.home)
        figures, faults = _judge(self.home, self._process_log, self._crowd, self._collector.ledger)
        faults += [f"what was left could not be delivered: {settled}"] if settled else []
        faults += [f"a process is left: {pid}, {line}" for pid, line in left.items()]
        counts = self._crowd.counts + self._hunt.counts + self._collector.answers
        return {**figures, **counts, "sidecars_killed": len(self._hunt.killed)}, faults

    # Chaos

    def _acts(self):
        """Each act that is repeated, with the seconds between two of it on average."""
        yield 1.0, self._crowd.kill_one
        yield 0.7, self._crowd.stop_one
        yield 4.0, self._crowd.wake_all
        yield 0.5, self._hunt.strike
        yield 5.0, self._hunt.change_mood
        yield 5.0, lambda: self._errands.start("flwr_telemetryd", "--once")
        yield 9.0, lambda: self._errands.start("flwr_telemetryd", "--service")
        yield 10.0, lambda: self._errands.start("flwr_telemetryd.cli", "flush", "--timeout", "3")
        yield 2.0, self._touch_flush
        yield 4.0, self._forget_state
        yield 1.0, self._let_heartbeats_age
        yield 8.0, self._configure
        yield 2.5, self._collector.change_mood
        yield 25.0, self._let_the_collector_fall

    def _make_chaos(self, until):
        for mean_s, act in self._acts():
            self._plan(mean_s * self._restless, act)
        self._after(0.0, self._look)
        latest = until + (_LONGEST_FACTOR - 1) * self._seconds
        while (now := time.monotonic()) < until or (now < latest and not self._is_enough()):
            self._crowd.replace()
            due, _, act = self._agenda[0]
            self._crowd.listen(due - time.monotonic())
            if time.monotonic() >= due:
                heapq.heappop(self._agenda)
                act()

    def _is_enough(self):
        least = self._seconds / 20
        return len(self._hunt.killed) >= least and self._collector.answers.total() >= least

    def _plan(self, mean_s, act):
        def act_and_plan():
            act()
            self._plan(mean_s, act)

        self._after(self._chance.expovariate(1 / mean_s), act_and_plan)

    def _after(self, seconds, act):
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), act))

    def _look(self):
        self._hunt.look()
        self._after(_LOOK_S, self._look)

    def _configure(self):
        """Other settings; short times, so that much happens."""
        draw = self._chance.uniform
        homes.configure(
            self.home,
            self._collector.url,
            burst_window_s=draw(0, 0.3),
            idle_exit_s=draw(0, 3),
            respawn_s=self._chance.choice([0, 0, 0.5]),
            backoff_s=draw(0, 0.05),
            backoff_max_s=draw(0.05, 0.3),
            connect_timeout_s=draw(0.5, 5),
            request_deadline_s=draw(0.3, 1.5),
            offline_exit_s=self._chance.choice([2, 60, 600]),
            bursts=self._chance.random() < 0.9,
            sent_max_mib=4096,  # so that the archive can be held against what was taken
        )

    def _touch_flush(self):
        flush = homes.spool(self.home) / "flush"
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(flush, os.O_WRONLY | os.O_CREAT, 0o600))

    def _forget_state(self):
        (homes.host(self.home) / "sidecar.json").unlink(missing_ok=True)

    def _let_heartbeats_age(self):
        """As if the 90 s were over for which a killed service counts as one that serves."""
        for heartbeat in homes.find(homes.telemetry(self.home), "service-*.json"):
            heartbeat.unlink(missing_ok=True)

    def _let_the_collector_fall(self):
        self._collector.go_down()
        self._after(self._chance.uniform(0.2, 4), self._collector.come_up)

    # Order

    def _make_order(self):
        self._crowd.end()
        self._errands.end()
        processes.end_all(self.home)
        self._collector.be_kind()
        self._collector.come_up()

    def _settle(self):
        """Deliver what is left; give the reason if that does not end."""
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            done = processes.once(self.home, timeout=_SETTLE_S)
            unsent = homes.unsent_files(self.home)
            if done.returncode == 0 and not unsent:
                return ""
            time.sleep(0.1)
        return f"--once ended with {done.returncode}: {done.stderr[-1000:]}\nunsent: {unsent[:20]}"


def _judge(home, process_log, crowd, ledger):
    """Compare the acknowledged events with the accepted ones, and with the files in the home."""
    found, archived = ledger.accepted.keys(), _archived(home)
    shown = processes.command(home, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    counters = status["totals"]["counters"]
    figures = {
        "events_acknowledged": len(ledger.acknowledged),
        "events_delivered": len(found),
        "bodies_taken": sum(ledger.verdicts.values()),
        "bursts_refused": len(ledger.verdicts) - sum(ledger.verdicts.values()),
        "damaged": counters["damaged"],
        "damaged_files": len(list(homes.host(home).glob("damaged/*"))),
    }
    faults = ledger.faults[:_SHOWN]

    def wrong(sentence, things):
        if things := list(things):
            faults.append(f"{len(things)} {sentence}: {', '.join(map(str, things[:_SHOWN]))}")

    wrong("events were acknowledged and are lost", sorted(ledger.lost(found)))
    wrong("events came under two keys", ledger.doubled().items())
    wrong("events were taken and are not in the archive", found - archived.keys())
    wrong("events are in two bodies of the archive", (n for n, times in archived.items() if times > 1))
    begun = crowd.counts["writers_started"] * chaos_writer.SERIALS_PER_WRITER
    wrong("events came that nobody emitted", (n for n in found if type(n) is not int or n >= begun))
    wrong("times event() or a workload failed", crowd.refusals)
    wrong("bodies were rejected", homes.rejected(home))
    wrong("problems are told by `status`", status["problems"])
    wrong("counters of `status` are not 0", (name for name in ("dropped", "rejected") if counters[name]))
    logs = [process_log, *homes.host(home).glob("sidecar.log*")]
    wrong("logs have tracebacks", (log for log in logs if b"Traceback (most" in log.read_bytes()))
    killed = crowd.counts["writers_killed"] + crowd.counts["forked_children_killed"]
    if max(figures["damaged"], figures["damaged_files"]) > killed:
        faults.append(f"damage: {figures['damaged']} times, though {killed} workloads were killed")
    return figures, faults


def _archived(home):
    """Give how many bodies of the archive hold each serial."""
    found, lines = Counter(), set()
    for path in sorted(homes.host(home).glob("sent/????-??-??.jsonl")):
        with path.open("rb") as archive:
            for line in archive:
                digest = hashlib.sha256(line).digest()
                if digest in lines:
                    continue  # a body that was accepted twice, under one key
                lines.add(digest)
                try:
                    found.update(serials(line))
                except ValueError:
                    continue  # its writer was killed; the body comes again
    return found


def run_and_tell(home, seconds, seed):
    """Make a run, print its seed first and its figures last, and give figures and faults."""
    print(f"chaos: seed {seed}, {seconds:.0f} s, in {home.parent}", flush=True)  # noqa: T201
    figures, faults = Chaos(home, seconds, seed).run()
    rows = [f"{name.replace('_', ' '):32} {value}" for name, value in figures.items()]
    print("\n".join([*rows, *(faults or ["all is well"])]), flush=True)  # noqa: T201
    return figures, faults


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description="The chaos run.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    chosen = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("FLWR_") or name in _NOT_INHERITED or name.lower().endswith("_proxy"):
            del os.environ[name]
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ["HOME"] = str(directory)
    _, faults = run_and_tell(directory / ".flwr", 60 * chosen.minutes, chosen.seed)
    if not faults:
        shutil.rmtree(directory)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
