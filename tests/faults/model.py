"""The model test: every rule is something that may happen to a home, in any order and number.

Writers emit, are stopped and killed; sidecars look, die and are stopped just before any system call, two
of them on a host where locks do not work, one of another host that adopts; clocks step; the collector
answers in every way; caps, switches and the user's other means are used; files are damaged. After each
step nothing that was acknowledged may be missing (``ledger.py``). In the end the world is well, and
a fresh sidecar drains the home within some passes.

``test_model.py`` runs it, and keeps what it found.
"""

import errno
import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.schedule import ExitReason
from tests.faults.ledger import see
from tests.faults.model_actor import DeathError, Moment
from tests.faults.model_world import DAY_S, HOUR_S, Pen, World
from tests.support.collector import ANSWERS

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
_junk = st.sampled_from(
    [*"{ [] nan inf -1 1e300 3600".split(), "", "\0" * 9, '{"requests": -5, "retried": 1e999}', "x" * 70_000]
)
_errnos = st.sampled_from([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])

# Type, cluster, source, form of the details, date; many are of a kind, so that they make bursts.
_numbers = ([0, 0, 1], [0, 1, 2], [0, 0, 0, 1, 2], [1, 1, 1, 0, 2, 3, 4], range(7))
_kind = st.tuples(*map(st.sampled_from, _numbers))
_kinds, _some_kinds = st.lists(_kind, max_size=4), st.lists(_kind, min_size=2, max_size=4)
_pens, _calls, _per_cent = st.integers(0, 3), st.integers(0, 24), st.integers(0, 99)
_slots = st.integers(0, 2)
_refusals = st.sampled_from(["nothing", "bursts", "single events", "all"])


class Model(RuleBasedStateMachine):
    """Writers and sidecars; `locks` and `collector` are those of the world."""

    locks = "work"

    def __init__(self):
        super().__init__()
        self.world = World(self.locks, self.collector)

    @initialize(refuses=_refusals)
    def begin(self, refuses):
        self.world.refuses = refuses

    @rule(pen=_pens, kinds=_kinds)
    def emit(self, pen, kinds):
        self._emit(pen, kinds)

    def _emit(self, pen, kinds):
        for kind in kinds:
            self._emit_until(pen, kind, None)
        self.world.check()

    @rule(
        pen=_pens,
        kinds=_kinds,
        what=st.sampled_from(["stop", "die"]),
        at=st.integers(0, 6),
        looks=st.booleans(),
        torn=_per_cent,
    )
    def emit_until(self, pen, kinds, what, at, looks, torn):
        self._emit(pen, kinds[1:])
        for kind in kinds[:1]:
            self._emit_until(pen, kind, Moment(at, what, looks, torn))
        self.world.check()

    def _emit_until(self, pen, kind, moment):
        pen %= len(self.world.pens)
        writing = self.world.pens[pen]
        if writing.actor.stopped or self.world.state != "on":
            return
        append = self.world.begin(writing, kind)
        if moment is None:
            self.world.written(writing, lambda: writing.actor.run(append))
        elif writing.actor.start(append, moment):
            self.world.written(writing, writing.actor.outcome)

    # Sidecars

    @rule(pen=_pens, kinds=_kinds, slot=_slots, mode=st.sampled_from(Mode), times=st.integers(1, 3))
    def look(self, pen, kinds, slot, mode, times):
        self._emit(pen, kinds)
        for _ in range(times):
            self._look(slot, None, mode)

    @rule(pen=_pens, kinds=_kinds, slot=_slots, at=_calls, torn=_per_cent)
    def crash(self, pen, kinds, slot, at, torn):
        self._emit(pen, kinds)
        self._look(slot, Moment(at, "die", number=torn))

    @rule(pen=_pens, kinds=_kinds, slot=_slots, at=_calls, number=_errnos, looks=st.booleans())
    def fail(self, pen, kinds, slot, at, number, looks):
        self._emit(pen, kinds)
        self._look(slot, Moment(at, "fail", looks, number))

    @rule(pen=_pens, kinds=_kinds, slot=_slots, at=_calls, looks=st.booleans())
    def stop(self, pen, kinds, slot, at, looks):
        self._emit(pen, kinds)
        self._stop(slot, Moment(at, "stop", looks))

    def _stop(self, slot, moment):
        slot = self._slot(slot)
        run = self.world.run_at(slot, Mode.ON_DEMAND)
        if not run.actor.stopped:
            self._before(run)
            if run.actor.start(run.sidecar.run_pass, moment):
                self._after(slot, run, run.actor.outcome)
        self.world.check()

    @rule(
        pen=_pens,
        kinds=_some_kinds,
        slot=_slots,
        at=_calls,
        looks=st.booleans(),
        other=st.none() | _slots,
        more=st.none() | st.integers(0, 4),
        dies=st.booleans(),
    )
    def amid(self, pen, kinds, slot, at, looks, other, more, dies):
        """A writer is stopped before its write, and a sidecar amid its look; first the writer goes on."""
        self._emit(pen, kinds[1:])
        self._emit_until(pen, kinds[0], Moment(0, "stop"))
        self._stop(slot, Moment(at, "stop", looks))
        if other is not None:
            self._look(other, None)
        for each in self.world.stopped():
            if isinstance(each, Pen):
                self._go_on(each, None)
        self.world.check()
        run = self.world.runs.get(self._slot(slot))
        if run is not None and run.actor.stopped and more is not None:
            self._go_on(run, Moment(more, "stop"))
            self.world.check()
        if run is not None and run.actor.stopped:
            if dies:
                self._kill(run)
            else:
                self._go_on(run, None)
        self.world.check()

    def _slot(self, slot):
        """Where locks work, only one sidecar runs on a host."""
        return slot if self.locks != "work" or slot == 2 else 0

    def _before(self, run):
        if self.world.state == "off" or run.is_off:
            run.is_off = True
            self.world.ledger.excuse(self.world.seen.waiting, "purged")

    def _after(self, slot, run, outcome):
        try:
            end = outcome()
        except DeathError:
            self.world.bury(run)
            return None
        except OSError:
            # The sidecar ends with an error, which only a failure of a call that looks may cause.
            assert run.may_fail
            self.world.bury(run)
            return None
        run.is_off = self.world.state == "off"
        if end is not None:
            self.world.end_life(slot, "" if end is ExitReason.DISABLED else end.value)
        return end

    def _look(self, slot, moment, mode=Mode.ON_DEMAND):
        world, slot = self.world, self._slot(slot)
        run = world.run_at(slot, mode)
        if run.actor.stopped:
            return
        self._before(run)
        fails = moment is not None and moment.what == "fail"
        run.may_fail = fails and moment.looks
        before, heard, alone = world.seen, len(world.heard), not world.stopped()
        barred_s = world.barred_s(run.sidecar.host)
        end = self._after(slot, run, lambda: run.actor.run(run.sidecar.run_pass, moment))
        world.check()
        if not alone:
            return
        if world.state == "on" and not (world.forgotten or world.damaged or fails):
            world.ledger.check_caps(before, world.seen, world.heard[heard:], cut_short=moment is not None)
        assert barred_s <= 1 or run.may_fail or len(world.heard) == heard, "a Retry-After is not obeyed"
        if moment is None:
            self._check_end(run, end, before.waiting)

    def _check_end(self, run, end, waited):
        world = self.world
        assert (end is ExitReason.DISABLED) == (world.state != "on")
        if world.state == "off":
            assert world.unsent() == []
        elif world.state == "malformed":
            assert world.seen.waiting == waited
        elif end in {ExitReason.IDLE, ExitReason.DRAINED}:
            waiting = see([run.sidecar.host.root]).waiting
            assert not (waiting & run.known if end is ExitReason.DRAINED else waiting)

    # What is stopped

    @precondition(lambda self: self.world.stopped())
    @rule(number=st.integers(0, 3), more=st.none() | _calls, looks=st.booleans())
    def go_on(self, number, more, looks):
        self._go_on(self._stopped(number), None if more is None else Moment(more, "stop", looks))
        self.world.check()

    def _stopped(self, number):
        stopped = self.world.stopped()
        return stopped[number % len(stopped)]

    def _go_on(self, each, moment):
        if isinstance(each, Pen):
            if each.actor.go_on(moment):
                self.world.written(each, each.actor.outcome)
            return
        self._before(each)
        slot = next(slot for slot, run in self.world.runs.items() if run is each)
        if each.actor.go_on(moment):
            self._after(slot, each, each.actor.outcome)

    @precondition(lambda self: self.world.stopped())
    @rule(number=st.integers(0, 3))
    def kill(self, number):
        self._kill(self._stopped(number))
        self.world.check()

    def _kill(self, each):
        if isinstance(each, Pen):
            self.world.bury_pen(each)
        else:
            self._before(each)
            self.world.bury(each)

    # The world

    @rule(names=st.lists(st.sampled_from(sorted(ANSWERS)), max_size=4), refuses=_refusals)
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

    @rule(host=st.integers(0, 1), slot=_slots, what=st.sampled_from(["flush", "end", "forget 0", "forget 2"]))
    def ask(self, host, slot, what):
        run = self.world.runs.get(slot)
        if what == "flush":
            self.world.put(self.world.hosts[host].flush, b"")
        elif what == "end" and run is not None and not run.actor.stopped:
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
        for run in world.runs.values():
            run.sidecar._uploader.close()  # as the system does for a process that ends
        world.runs.clear()
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
