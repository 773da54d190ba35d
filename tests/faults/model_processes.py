"""The rules of the model by which its processes work, fail, stop, go on and die; see ``model.py``."""

import errno

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.schedule import ExitReason
from tests.faults.ledger import see
from tests.faults.model_actor import DeathError, Moment
from tests.faults.model_hands import Pen
from tests.faults.model_world import World

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)

# Type, cluster, source, form of the details, date; many are of a kind, so that they make bursts.
_numbers = ([0, 0, 1], [0, 1, 2], [0, 0, 0, 1, 2], [1, 1, 1, 0, 2, 3, 4], range(7))
_kind = st.tuples(*map(st.sampled_from, _numbers))
_kinds, _some_kinds = st.lists(_kind, max_size=4), st.lists(_kind, min_size=2, max_size=4)
_pens, _calls, _per_cent = st.integers(0, 3), st.integers(0, 24), st.integers(0, 99)
slots = st.integers(0, 2)
refusals = st.sampled_from(["nothing", "bursts", "single events", "all"])


class Processes(RuleBasedStateMachine):
    """Writers and sidecars; `locks` and `collector` are those of the world."""

    locks = "work"

    def __init__(self):
        super().__init__()
        self.world = World(self.locks, self.collector)

    @initialize(refuses=refusals)
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

    @rule(pen=_pens, kinds=_kinds, slot=slots, mode=st.sampled_from(Mode), times=st.integers(1, 3))
    def look(self, pen, kinds, slot, mode, times):
        self._emit(pen, kinds)
        for _ in range(times):
            self._look(slot, None, mode)

    @rule(pen=_pens, kinds=_kinds, slot=slots, at=_calls, torn=_per_cent)
    def crash(self, pen, kinds, slot, at, torn):
        self._emit(pen, kinds)
        self._look(slot, Moment(at, "die", number=torn))

    @rule(pen=_pens, kinds=_kinds, slot=slots, at=_calls, number=st.sampled_from(ERRNOS), looks=st.booleans())
    def fail(self, pen, kinds, slot, at, number, looks):
        self._emit(pen, kinds)
        self._look(slot, Moment(at, "fail", looks, number))

    @rule(pen=_pens, kinds=_kinds, slot=slots, at=_calls, looks=st.booleans())
    def stop(self, pen, kinds, slot, at, looks):
        self._emit(pen, kinds)
        self._stop(slot, Moment(at, "stop", looks))

    def _stop(self, slot, moment):
        slot = self._slot(slot)
        life = self.world.life(slot, Mode.ON_DEMAND)
        if not life.actor.stopped:
            self._before(life)
            if life.actor.start(life.sidecar.run_pass, moment):
                self._after(slot, life, life.actor.outcome)
        self.world.check()

    @rule(
        pen=_pens,
        kinds=_some_kinds,
        slot=slots,
        at=_calls,
        looks=st.booleans(),
        other=st.none() | slots,
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
        life = self.world.lives.get(self._slot(slot))
        if life is not None and life.actor.stopped and more is not None:
            self._go_on(life, Moment(more, "stop"))
            self.world.check()
        if life is not None and life.actor.stopped:
            if dies:
                self._kill(life)
            else:
                self._go_on(life, None)
        self.world.check()

    def _slot(self, slot):
        """Where locks work, only one sidecar lives on a host."""
        return slot if self.locks != "work" or slot == 2 else 0

    def _before(self, life):
        if self.world.state == "off" or life.is_off:
            life.is_off = True
            self.world.ledger.excuse(self.world.seen.waiting, "purged")

    def _after(self, slot, life, outcome):
        try:
            end = outcome()
        except DeathError:
            self.world.bury(life)
            return None
        except OSError:
            # The sidecar ends with an error, which only a failure of a call that looks may cause.
            assert life.may_fail
            self.world.bury(life)
            return None
        life.is_off = self.world.state == "off"
        if end is not None:
            self.world.end_life(slot, "" if end is ExitReason.DISABLED else end.value)
        return end

    def _look(self, slot, moment, mode=Mode.ON_DEMAND):
        world, slot = self.world, self._slot(slot)
        life = world.life(slot, mode)
        if life.actor.stopped:
            return
        self._before(life)
        fails = moment is not None and moment.what == "fail"
        life.may_fail = fails and moment.looks
        before, heard, alone = world.seen, len(world.heard), not world.stopped()
        barred_s = world.barred_s(life.sidecar.host)
        end = self._after(slot, life, lambda: life.actor.run(life.sidecar.run_pass, moment))
        world.check()
        if not alone:
            return
        if world.state == "on" and not (world.forgotten or world.damaged or fails):
            world.ledger.check_caps(before, world.seen, world.heard[heard:], cut_short=moment is not None)
        assert barred_s <= 1 or life.may_fail or len(world.heard) == heard, "a Retry-After is not obeyed"
        if moment is None:
            self._check_end(life, end, before.waiting)

    def _check_end(self, life, end, waited):
        world = self.world
        assert (end is ExitReason.DISABLED) == (world.state != "on")
        if world.state == "off":
            assert world.unsent() == []
        elif world.state == "malformed":
            assert world.seen.waiting == waited
        elif end in {ExitReason.IDLE, ExitReason.DRAINED}:
            waiting = see([life.sidecar.host.root]).waiting
            assert not (waiting & life.known if end is ExitReason.DRAINED else waiting)

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
        slot = next(slot for slot, life in self.world.lives.items() if life is each)
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
