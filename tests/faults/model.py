"""The model test: every rule is something that may happen to a home, in any order and number.

Writers emit, are stopped and killed; sidecars look, die and are stopped just before any system call, two
of them on a host where locks do not work, one of another host that adopts; clocks step; the collector
answers in every way; caps, switches and the user's other means are used; files are damaged. After each
step nothing that was acknowledged may be missing (``ledger.py``). In the end the world is well, and
a fresh sidecar drains the home within some passes.

``python -m tests.faults.model --examples 5000 --seed 7`` tries as many as it is told, and others with each
seed; ``--steps`` is how long a run is at most. What it prints is kept in ``test_model_examples.py``.
"""

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import get_state_machine_test, rule

from flwr_telemetryd.runtime import Mode
from tests.faults.model_hands import DAY_S, HOUR_S
from tests.faults.model_processes import Processes, refusals, slots
from tests.support.collector import ANSWERS, Collector

LOCKS = ("work", "refused", "pretended")
LOOKS_TO_DRAIN = 12
MANY_YEARS_S = 50 * 365 * DAY_S

_settings = st.sampled_from(
    [
        *(("spool_max_mib", value) for value in (0.002, 64)),
        *(("spool_max_days", value) for value in (1, 1e6)),
        *(("bursts", value) for value in (False, True)),
        *(("burst_window_s", value) for value in (5, 0)),
    ]
)
_numbers = ["", "nan", "inf", "-1", "1e300", "3600"]
_junk = st.sampled_from([*_numbers, "{", "[]", "\0" * 9, '{"requests": -5, "retried": 1e999}', "x" * 70_000])


class Model(Processes):
    @rule(names=st.lists(st.sampled_from(sorted(ANSWERS)), max_size=4), refuses=refusals)
    def answer(self, names, refuses):
        self.world.script.extend(names)
        self.world.refuses = refuses

    @rule(seconds=st.sampled_from([0.3, 6, 61, 1000, 100_000]))
    def wait(self, seconds):
        self.world.time.monotonic_s += seconds

    @rule(
        shift_s=st.sampled_from([0, HOUR_S, 2 * DAY_S, MANY_YEARS_S, -HOUR_S, -MANY_YEARS_S]),
        to_ns=st.sampled_from([-(10**18), 0, 1_795_000_000 * 10**9, 2**63 - 1]),
    )
    def step_clocks(self, shift_s, to_ns):
        self.world.time.wall_ns = to_ns
        if abs(self.world.shifted_s + shift_s) <= MANY_YEARS_S:
            self.world.shift(shift_s)

    @rule(setting=_settings)
    def set(self, setting):
        self.world.settings.update([setting])
        self.world.configure()

    @rule(state=st.sampled_from(["off", "malformed", "on", "on"]))
    def switch(self, state):
        self.world.set_state(state)

    @rule(host=st.integers(0, 1), slot=slots, what=st.sampled_from(["flush", "end", "forget 0", "forget 2"]))
    def ask(self, host, slot, what):
        life = self.world.lives.get(slot)
        if what == "flush":
            self.world.put(self.world.hosts[host].flush, b"")
        elif what == "end" and life is not None and not life.actor.stopped:
            self.world.end_life(slot, "ended")
        elif what.startswith("forget") and not self.world.stopped():
            self.world.forget(int(what[-1]))
        self.world.check()

    @rule(
        host=st.integers(0, 1),
        what=st.sampled_from(["body", "segment", "sidecar.json", "not-before"]),
        percent=st.integers(0, 99),
        junk=_junk,
    )
    def damage(self, host, what, percent, junk):
        self.world.damage(host, what, percent, junk.encode())
        self.world.check()

    # The end

    def teardown(self):
        try:
            if sys.exception() is None:
                self._drain()
        finally:
            self.world.end()

    def _drain(self):
        world = self.world
        for each in world.stopped():
            self._go_on(each, None)
        world.check()
        world.lives.clear()
        world.script.clear()
        world.refuses, world.settings = "nothing", {}
        world.set_state("on")
        for _ in range(LOOKS_TO_DRAIN):
            world.time.monotonic_s += HOUR_S
            world.shift(DAY_S + 1)
            self._look(0, None, Mode.SERVICE)
            if not world.unsent():
                break
        assert world.unsent() == []
        assert not world.seen.waiting


def run(locks, chosen, seed_=None):
    machine = type(f"ModelLocks{locks.capitalize()}", (Model,), {"locks": locks})
    with Collector() as machine.collector:
        test = get_state_machine_test(machine, settings=chosen)
        if seed_ is not None:
            test = seed(seed_)(test)
        test()


def main():
    parser = argparse.ArgumentParser(description="The model test, as long as you like.")
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--locks", choices=LOCKS, action="append")
    asked = parser.parse_args()
    chosen = settings(
        max_examples=asked.examples,
        stateful_step_count=asked.steps,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    for locks in asked.locks or LOCKS:
        begun = time.monotonic()
        run(locks, chosen, asked.seed)
        print(f"locks {locks}: {asked.examples} examples in {time.monotonic() - begun:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
