"""File locks, and waits that end by the clock and by a number of attempts.

The kernel releases a lock when the last copy of its descriptor is closed: no lock outlives its processes.
A wait may run in the training process, where a frozen or virtual clock must not hang it.

This module never blocks in a system call: every attempt has ``LOCK_NB``. A file server may hold up even such
an attempt, for a minute or for ever, and two machines may get the same lock. So no file that other machines
may use is locked. The answer is "unsupported", and the caller works without the lock.

No wait in the training process uses the timeout of a ``threading`` lock, because a virtual clock may never
reach its end.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator

from . import mounts, system
from .errors import BUSY_ERRNOS, reraise_from_handler
from .named import ClassVar


class LockResult:
    """The answer to an attempt at a lock: one of three. It is no ``Enum``, which takes 0.1 ms to define."""

    HELD: ClassVar[LockResult]
    """This process holds it."""
    BUSY: ClassVar[LockResult]
    """Another process holds it."""
    UNSUPPORTED: ClassVar[LockResult]
    """This file system has no locks, or none that can be relied on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"LockResult.{self._name}"


LockResult.HELD, LockResult.BUSY, LockResult.UNSUPPORTED = map(LockResult, ("HELD", "BUSY", "UNSUPPORTED"))


def try_shared(descriptor: int) -> LockResult:
    """One attempt at a shared lock.

    Raises:
        OSError: ESTALE. Another host removed the file, so a write to it would be lost.
    """
    try:
        return _try(descriptor, system.lock_shared)
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        return _refused(error)


def try_exclusive(descriptor: int) -> LockResult:
    """One attempt at an exclusive lock."""
    try:
        return _try(descriptor, system.lock_exclusive)
    except OSError as error:
        return _refused(error)


def is_shared(descriptor: int) -> bool:
    """Whether other machines may use an open file, so that it is never locked."""
    return mounts.is_shared_device(os.fstat(descriptor).st_dev)


def _try(descriptor: int, lock: Callable[[int], None]) -> LockResult:
    if is_shared(descriptor):
        return LockResult.UNSUPPORTED
    lock(descriptor)
    return LockResult.HELD


def _refused(error: OSError) -> LockResult:
    return LockResult.BUSY if error.errno in BUSY_ERRNOS else LockResult.UNSUPPORTED


def wait(attempt: Callable[[int], LockResult], descriptor: int, wait_s: float, poll_s: float) -> LockResult:
    """Repeat an attempt while the lock is busy.

    Args:
        attempt: ``try_shared``, ``try_exclusive`` or a function like them.
        descriptor: of the file to lock.
        wait_s: no attempt starts later than this, in seconds; 0 or less means one attempt.
        poll_s: time between two attempts, in seconds.
    """
    result = attempt(descriptor)
    if result is LockResult.BUSY:  # no clock is read for a free lock: it is part of every event
        for _ in polls(wait_s, poll_s):
            if (result := attempt(descriptor)) is not LockResult.BUSY:
                break
    return result


def polls(wait_s: float, poll_s: float) -> Iterator[None]:
    """Sleep before each step of a loop, until a time is over by the clock or by the number of the sleeps.

    Args:
        wait_s: no sleep starts later than this, in seconds; 0 or less means no step.
        poll_s: the length of a sleep, in seconds.
    """
    deadline = time.monotonic() + wait_s
    tries = wait_s / poll_s
    while tries > 0 and time.monotonic() < deadline:
        try:
            time.sleep(poll_s)
        except Exception:  # noqa: BLE001 - a virtual clock, or a test suite, may refuse it
            reraise_from_handler()
        yield
        tries -= 1


def unlock(descriptor: int) -> None:
    """Release a lock. An error of the system is ignored, because closing the file releases it, too."""
    try:  # noqa: SIM105 - `suppress` costs as much as the call
        system.unlock(descriptor)
    except OSError:
        pass
