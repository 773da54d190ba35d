"""Processes that are stopped, go on, fail and die just before a system call of the model's choice.

A process of the model is a thread at most, and often only a part of this one: what makes it a process is
that every function of ``os`` through which it touches the world asks its ``Actor`` first. A stopped one
waits inside such a call, as after SIGSTOP. A dead one raises ``DeathError`` from that call and from every
later one, so that no ``finally`` can do what SIGKILL would not allow; then its descriptors are closed, and
with them its locks are released, which is what the system does.

Death is counted in calls that change something, and not what ``status`` is told: just before any other
call the world is the same as just after the last change.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import threading
from dataclasses import dataclass
from hashlib import sha256

CHANGES = frozenset("write rename replace unlink remove rmdir mkdir link".split())
LOOKS = frozenset("open read pread stat lstat fstat scandir listdir fsync utime chmod fchmod".split())
IDLE = "sidecar.json"

_local = threading.local()
_fstat = os.fstat


class DeathError(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


@dataclass(frozen=True)
class Moment:
    """The moment of a stop, a death or a failure."""

    at: int  # after so many more calls
    what: str  # `stop`, `die`, or `fail`: that one call fails
    looks: bool = False  # whether calls that only look are counted, too
    number: int = 0  # the errno of a failure; of a death in a write, how many per cent of it are written


class Actor:
    """One process."""

    def __init__(self, pid):
        self.pid = pid  # a part of the names of its drafts
        self.descriptors = {}  # path, device and inode of each open file, by number
        self.sizes = {}  # as it was told last
        self.has_lock = False
        self.unlocked_writes = 0
        self._dead = False
        self._moment = None
        self._left = 0
        self._thread = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._outcome = (None, None)

    @property
    def stopped(self):
        return self._thread is not None

    def run(self, step, moment=None):
        """Let the process do something to its end; DeathError if it died instead."""
        self._set(moment)
        former, _local.actor = getattr(_local, "actor", None), self
        try:
            return step()
        finally:
            _local.actor = former
            self._moment = None

    def start(self, step, moment):
        """Let the process begin something in a thread of its own; whether it came to its end."""

        def work():
            try:
                self._outcome = (self.run(step, moment), None)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                self._outcome = (None, error.with_traceback(None))
            self._back.release()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self._wait()

    def go_on(self, moment):
        """Let a stopped process go on; whether it came to its end."""
        self._set(moment)
        self._go.release()
        return self._wait()

    def outcome(self):
        """Give the result of the step of ``start``, or raise its error."""
        result, error = self._outcome
        self._outcome = (None, None)
        if error is not None:
            raise error
        return result

    def kill(self):
        """End the process, stopped or not."""
        self._dead = True
        if self.stopped:
            assert self.go_on(None)
            with contextlib.suppress(DeathError):
                self.outcome()
        for number in self.open_descriptors():
            os.close(number)

    def open_descriptors(self):
        """Its open descriptors, without those that were closed otherwise than by ``os.close``."""
        for number, (_, *identity) in list(self.descriptors.items()):
            try:
                status = _fstat(number)
            except OSError:
                status = None
            if status is None or [status.st_dev, status.st_ino] != identity:
                del self.descriptors[number]
        return sorted(self.descriptors)

    def _wait(self):
        self._back.acquire()
        if self._moment is not None and self._moment.what == "stop" and self._left < 0:
            return False
        self._thread.join()
        self._thread = None
        return True

    def _set(self, moment):
        self._moment, self._left = moment, moment.at if moment else 0

    def call(self, name, real, arguments, options):
        """Make a system call, if it comes to that."""
        if name == "close":
            # The dead may do this, too: it is what the system does for them.
            self.descriptors.pop(arguments[0], None)
            return real(*arguments)
        if self._dead:
            raise DeathError
        moment = self._moment
        counts = moment is not None and self._left >= 0
        if counts and (moment.looks or (name in CHANGES and not self._is_idle(arguments[0]))):
            self._left -= 1
            if self._left < 0:
                self._now(moment, name, real, arguments)
        result = real(*arguments, **options)
        if name == "open":
            status = _fstat(result)
            self.descriptors[result] = (os.fsdecode(arguments[0]), status.st_dev, status.st_ino)
        elif name == "fstat":
            self.sizes[arguments[0]] = result.st_size
        self.unlocked_writes += name == "write" and not self.has_lock
        return result

    def _is_idle(self, target):
        path = self.descriptors.get(target, ("", 0, 0))[0] if isinstance(target, int) else os.fspath(target)
        return IDLE in path

    def _now(self, moment, name, real, arguments):
        if moment.what == "fail":
            raise OSError(moment.number, os.strerror(moment.number))
        if moment.what == "stop":
            self._back.release()
            self._go.acquire()
            if self._dead:
                raise DeathError
            return
        if name == "write" and moment.number:
            descriptor, data = arguments
            real(descriptor, bytes(data)[: len(data) * moment.number // 100])
        self._dead = True
        raise DeathError


@contextlib.contextmanager
def installed(locks):
    """Let every actor's calls go through it; locks ``work``, or are ``refused`` or ``pretended``."""
    names = [*CHANGES, *LOOKS, "close"]
    former = {name: getattr(os, name) for name in [*names, "getpid"]}
    former_flock, former_random, number = fcntl.flock, os.urandom, itertools.count()

    def stand_in(name):
        real = former[name]

        def call(*arguments, **options):
            actor = getattr(_local, "actor", None)
            if actor is None:
                return real(*arguments, **options)
            return actor.call(name, real, arguments, options)

        return call

    def flock(descriptor, operation):
        actor = getattr(_local, "actor", None)
        if locks == "work" or actor is None:
            former_flock(descriptor, operation)
            if actor is not None:
                actor.has_lock = operation != fcntl.LOCK_UN
        elif locks == "refused":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def getpid():
        actor = getattr(_local, "actor", None)
        return former["getpid"]() if actor is None else actor.pid

    def urandom(size):
        is_actors = getattr(_local, "actor", None) is not None
        return sha256(b"%d" % next(number)).digest()[:size] if is_actors else former_random(size)

    for name in names:
        setattr(os, name, stand_in(name))
    os.getpid = getpid
    fcntl.flock = flock
    # Names that are the same in every run make a failing example one that can be replayed.
    os.urandom = urandom
    try:
        yield
    finally:
        fcntl.flock, os.urandom = former_flock, former_random
        for name, real in former.items():
            setattr(os, name, real)
