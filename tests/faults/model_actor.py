"""Processes that are stopped, go on, fail and die just before a system call of the model's choice.

A process of the model is a thread at most, and often only a part of this one: what makes it a process is
that every function of ``os`` through which it touches the world asks its ``Actor`` first. A stopped one
waits inside such a call, as after SIGSTOP. A dead one raises ``DeathError`` from that call and from every
later one, so that no ``finally`` can do what SIGKILL would not allow; then its descriptors are closed, and
with them its locks are released, which is what the system does.

Death is counted in calls that change something, and not what ``status`` is told: just before any other
call the world is the same as just after the last change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import threading
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHANGES = frozenset("write rename replace unlink remove rmdir mkdir link".split())
LOOKS = frozenset("open read pread stat lstat fstat scandir listdir fsync utime chmod fchmod".split())
IDLE = "sidecar.json"

_local = threading.local()
_fstat = os.fstat


class DeathError(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


@dataclass(frozen=True)
class Moment:
    """When something happens to a process, and what.

    Attributes:
        at: just before how many more calls.
        what: ``stop``, ``die``, or ``fail``: that one call fails.
        looks: whether calls that only look are counted, too.
        number: the errno of a failure; of a death in a write, how many per cent of it are written.
    """

    at: int
    what: str
    looks: bool = False
    number: int = 0


class Actor:
    """One process.

    Args:
        pid: its id, which is part of the names of its drafts.

    Attributes:
        descriptors: path, device and inode of what it has open, by number.
        sizes: what it was told last of their sizes.
        has_lock: whether it holds a lock that excludes others.
        unlocked_writes: how often it wrote something without one.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptors: dict[int, tuple[str, int, int]] = {}
        self.sizes: dict[int, int] = {}
        self.has_lock = False
        self.unlocked_writes = 0
        self._dead = False
        self._moment: Moment | None = None
        self._left = 0
        self._thread: threading.Thread | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._outcome: tuple[Any, BaseException | None] = (None, None)

    @property
    def stopped(self) -> bool:
        """Whether it waits inside a call."""
        return self._thread is not None

    def run(self, step: Callable[[], Any], moment: Moment | None = None) -> Any:
        """Let the process do something to its end; DeathError if it died instead."""
        self._set(moment)
        former, _local.actor = getattr(_local, "actor", None), self
        try:
            return step()
        finally:
            _local.actor = former
            self._moment = None

    def start(self, step: Callable[[], Any], moment: Moment) -> bool:
        """Let the process begin something in a thread of its own; whether it came to its end."""

        def live() -> None:
            try:
                self._outcome = (self.run(step, moment), None)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                self._outcome = (None, error.with_traceback(None))
            self._back.release()

        self._thread = threading.Thread(target=live, daemon=True)
        self._thread.start()
        return self._wait()

    def go_on(self, moment: Moment | None) -> bool:
        """Let a stopped process go on; whether it came to its end."""
        self._set(moment)
        self._go.release()
        return self._wait()

    def outcome(self) -> Any:
        """What came of what was begun with ``start``; raises what it raised."""
        result, error = self._outcome
        self._outcome = (None, None)
        if error is not None:
            raise error
        return result

    def kill(self) -> None:
        """End the process, stopped or not."""
        self._dead = True
        if self.stopped:
            assert self.go_on(None)
            with contextlib.suppress(DeathError):
                self.outcome()
        for number in self.open_descriptors():
            os.close(number)

    def open_descriptors(self) -> list[int]:
        """What it has open; what was closed on another way than by ``os.close`` is forgotten."""
        for number, (_, *identity) in list(self.descriptors.items()):
            try:
                status = _fstat(number)
            except OSError:
                status = None
            if status is None or [status.st_dev, status.st_ino] != identity:
                del self.descriptors[number]
        return sorted(self.descriptors)

    def _wait(self) -> bool:
        self._back.acquire()
        if self._moment is not None and self._moment.what == "stop" and self._left < 0:
            return False
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        return True

    def _set(self, moment: Moment | None) -> None:
        self._moment, self._left = moment, moment.at if moment else 0

    def call(self, name: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
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

    def _is_idle(self, target: Any) -> bool:
        path = self.descriptors.get(target, ("", 0, 0))[0] if isinstance(target, int) else os.fspath(target)
        return IDLE in path

    def _now(self, moment: Moment, name: str, real: Callable[..., Any], arguments: Any) -> None:
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
def installed(locks: str) -> Iterator[None]:
    """Let every actor's calls go through it while this lasts.

    Args:
        locks: ``work``, or as on some network file systems: ``refused``, or ``pretended``.
    """
    names = [*CHANGES, *LOOKS, "close"]
    former = {name: getattr(os, name) for name in [*names, "getpid"]}
    former_flock, former_hex, number = fcntl.flock, secrets.token_hex, itertools.count()

    def stand_in(name: str) -> Callable[..., Any]:
        real = former[name]

        def call(*arguments: Any, **options: Any) -> Any:
            actor = getattr(_local, "actor", None)
            if actor is None:
                return real(*arguments, **options)
            return actor.call(name, real, arguments, options)

        return call

    def flock(descriptor: int, operation: int) -> None:
        actor = getattr(_local, "actor", None)
        if locks == "work" or actor is None:
            former_flock(descriptor, operation)
            if actor is not None:
                actor.has_lock = operation != fcntl.LOCK_UN
        elif locks == "refused":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def getpid() -> int:
        actor = getattr(_local, "actor", None)
        return former["getpid"]() if actor is None else actor.pid

    for name in names:
        setattr(os, name, stand_in(name))
    os.getpid = getpid
    fcntl.flock = flock
    # Names that are the same in every run make a failing example one that can be replayed.
    secrets.token_hex = lambda size=32: sha256(b"%d" % next(number)).hexdigest()[: 2 * size]
    try:
        yield
    finally:
        fcntl.flock, secrets.token_hex = former_flock, former_hex
        for name, real in former.items():
            setattr(os, name, real)
