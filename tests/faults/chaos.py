"""The chaos run: ``python -m tests.faults.chaos --minutes N --seed S [--json FILE] [--keep]``.

Real workloads (``chaos_writer.py``) emit numbered events and tell which of them event() acknowledged. They
start sidecars by themselves; more are started beside them (``--once``, ``--service``, `flwr-telemetry
flush`). Workloads and sidecars are killed, stopped and woken at random for the whole time, while the
collector (``chaos_collector.py``) answers in every way there is, breaks off, hangs, or is down, settings
change, and ``spool/flush`` and ``sidecar.json`` come and go. Then everybody is killed, the collector takes
everything, and ``flwr-telemetryd --once`` delivers what is left. In the end (``chaos_verdict.py``)

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
import heapq
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import chaos_verdict
from tests.faults.chaos_collector import MoodyCollector
from tests.faults.chaos_crowd import Crowd, Errands, Hunt
from tests.support import homes, processes

_SETTLE_S = 600.0  # an upper bound for what hangs
_LOOK_S = 0.4
_LONGEST_FACTOR = 5
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
        began = time.monotonic()
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
            self._make_chaos(began + self._seconds)
            self._make_order()
            order_began = time.monotonic()
            settled = self._settle()
            ended, left = time.monotonic(), processes.processes_of(self.home)
        figures = {
            "seed": self._seed,
            "chaos_s": round(order_began - began, 1),
            "settling_s": round(ended - order_began, 1),
            **self._crowd.counts,
            "sidecars_seen": len(self._hunt.seen),
            "sidecars_killed": len(self._hunt.killed),
            **self._hunt.counts,
            **self._collector.counts,
            "answers": dict(sorted(self._collector.answers.items())),
        }
        faults = [f"what was left could not be delivered: {settled}"] if settled else []
        faults += [f"a process is left: {pid}, {line}" for pid, line in left.items()]
        ledger = self._collector.ledger
        return chaos_verdict.judge(self.home, self._process_log, figures, self._crowd, ledger, faults)

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
        return len(self._hunt.killed) >= least and self._collector.counts["requests"] >= least

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


def run_and_tell(home, seconds, seed):
    """Make a run, and print its seed first and its figures last."""
    print(f"chaos: seed {seed}, {seconds:.0f} s, in {home.parent}", flush=True)  # noqa: T201
    verdict = Chaos(home, seconds, seed).run()
    print(verdict.table(), flush=True)  # noqa: T201
    return verdict


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description="The chaos run.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="keep the directory even if all is well")
    chosen = parser.parse_args(arguments)
    for name in list(os.environ):
        if name.startswith("FLWR_") or name in _NOT_INHERITED or name.lower().endswith("_proxy"):
            del os.environ[name]
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ["HOME"] = str(directory)
    verdict = run_and_tell(directory / ".flwr", 60 * chosen.minutes, chosen.seed)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(verdict.public(), indent=1) + "\n")
    if not (verdict.faults or chosen.keep):
        shutil.rmtree(directory)
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
