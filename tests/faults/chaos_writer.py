"""A workload of the chaos run: it emits numbered events and tells which of them were acknowledged.

    python chaos_writer.py <kind> <first serial> <seed> <haunted: 0 or 1>

On its standard output, one line at a time, each in one write:

    <serial>  event() has returned for it, and said "spooled"
    ! <word>  event() has said anything else
    + and -   a forked child begins its work, and has ended it
    ~         the process stops itself (SIGSTOP) in the middle of an append, and waits to be woken

A haunted workload stops itself, or dies by SIGKILL, just before some system call of an append, and now
and then amid the write itself. Nothing of the emitter is replaced: the ghost only chooses the moment,
which signals from outside hit too seldom, as an append takes some microseconds.
"""

import atexit
import itertools
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings

from flwr_telemetry import event

TYPES = """
PING START_SERVER_ENTER START_CLIENT_LEAVE START_SIMULATION_ENTER RUN_SUPERLINK_ENTER
RUN_SUPERNODE_LEAVE
""".split()
SERIALS_PER_WRITER = 1_000_000  # one in how many belongs to the next writer
_FIRST_OF_CHILDREN, _SERIALS_PER_CHILD = 500_000, 1_000

_OUTPUT = 1
_DOOM = {"lstat": 1 / 500, "fstat": 1 / 500, "write": 1 / 200}  # of one system call
_write = os.write  # as it was before the ghost came


def type_of(n):
    """Give the type of the event with this serial: sixteen in a row are of one type."""
    return TYPES[n // 16 % len(TYPES)]


def details_of(n):
    """Give the details of the event with this serial, so that the receiver can check them."""
    return {"n": n, "half": n / 2, "text": "x" * (n % 7), "backend": "ray"}


def _say(line):
    _write(_OUTPUT, f"{line}\n".encode())


class Workload:
    """Emits events with the serials that it is given."""

    def __init__(self, first, seed):
        self.first = first
        self.serials = itertools.count(first)
        self.chance = random.Random(str(seed))

    def emit(self, count=1):
        for n in itertools.islice(self.serials, count):
            future = event(type_of(n), details_of(n))
            error = future.exception()
            word = future.result() if error is None else repr(error)
            if error is not None:
                traceback.print_exception(error)
            _say(str(n) if word == "spooled" else f"! {n} {word}")

    def rest(self, mean_s):
        time.sleep(min(self.chance.expovariate(1 / mean_s), 10 * mean_s))

    # Kinds

    def plain(self):
        while True:
            self.emit(self.chance.choice((1, 1, 2, 4)))
            self.rest(0.2)

    def bursts(self):
        while True:
            self.emit(self.chance.randrange(10, 80))
            self.rest(2.0)

    def threads(self):
        """Several threads that emit at the same time, one of which forks now and then."""
        for _ in range(2):
            threading.Thread(target=self.plain, daemon=True).start()
        self.forks()

    def forks(self):
        """Forks, and so does it again; parent and child go on emitting."""
        for number in itertools.count():
            self.emit(self.chance.randrange(1, 8))
            if self.chance.random() < 0.2 and os.fork() == 0:
                self._be_child(self.first + _FIRST_OF_CHILDREN + number % 400 * _SERIALS_PER_CHILD)
            self.rest(0.2)

    def _be_child(self, first):
        _say("+")
        child = Workload(first, os.getpid())
        for _ in range(child.chance.randrange(1, 30)):
            child.emit(child.chance.randrange(1, 4))
            child.rest(0.03)
        _say("-")
        os._exit(0)

    def signals(self):
        """A signal handler that emits, also while it interrupts an event of the same thread.

        The first event comes before, because a handler that interrupts its imports loses its own event.
        """
        self.emit()
        signal.signal(signal.SIGALRM, lambda _number, _frame: self.emit())
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.1)
        self.plain()

    def brief(self):
        atexit.register(self.emit)
        for _ in range(self.chance.randrange(1, 30)):
            self.emit(self.chance.randrange(1, 4))
            self.rest(0.03)


KINDS = ("plain", "bursts", "threads", "forks", "signals", "brief")


def haunt(chance):
    """Let the ghost into the system calls of an append."""

    def stop_or_die():
        if chance.random() < 0.2:
            os.kill(os.getpid(), signal.SIGKILL)
        _say("~")
        os.kill(os.getpid(), signal.SIGSTOP)

    def let_in(name):
        real = getattr(os, name)

        def haunted(*arguments, **options):
            if chance.random() < _DOOM[name]:
                if name == "write" and chance.random() < 0.25:
                    descriptor, data = arguments
                    real(descriptor, data[: chance.randrange(1, len(data))])
                    os.kill(os.getpid(), signal.SIGKILL)
                stop_or_die()
            return real(*arguments, **options)

        setattr(os, name, haunted)

    for name in _DOOM:
        let_in(name)


def main(kind, first, seed, haunted):
    """Work until the work is done."""
    warnings.simplefilter("ignore")  # that forking with threads is risky is what is tried here
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if haunted == "1":
        haunt(random.Random(f"{seed} ghost"))
    getattr(Workload(int(first), seed), kind)()


if __name__ == "__main__":
    main(*sys.argv[1:])
