"""Imports the modules that the first event of a process needs, one at a time, and never during a fork.

A signal handler may interrupt an import. An event in that handler would use half-imported modules, so it has
to wait until the import ends. The event of another thread has to wait, too, if the import is slow. Both get a
LoadingError, and ``emit.py`` keeps the event.

A child that is forked during the import of another thread would wait for that import for ever. So the fork
waits for the end of the import.

An import that ran out of memory is never tried again. It would fail again, more slowly each time, and a
half-loaded extension module may crash the process.

This module never starts a thread. Of this package it imports only ``errors`` and ``locks``.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from types import ModuleType

from .errors import LoadingError, TelemetryError
from .locks import polls
from .named import TypeVar

_T = TypeVar("_T")

WAIT_S = 1.0
"""The longest wait of a thread, or of a fork, for the import of another thread. The number of the tries
bounds it, too, because a clock may stand still."""

_POLL_S = 0.001


class Guard:
    """Lets one thread at a time import. A process has one instance, which is private to this module."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # its owner, interrupted by a handler, does not wait for itself
        self._is_importing = False
        self._is_slow = False
        """Whether a thread has waited in vain for the running import."""
        self._is_cut_off = False
        """Whether this process was forked during an import of another thread."""
        self._is_exhausted = False
        """Whether an import ran out of memory."""

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function that only imports.

        Raises:
            LoadingError: this thread is importing already, or another one has been for ``WAIT_S``.
            TelemetryError: this process was forked during an import, or an import ran out of memory.
        """
        if self._is_cut_off:
            raise TelemetryError("the process was forked during an import; report an event before the fork")
        if self._is_exhausted:
            raise TelemetryError("memory ran out while the emitter was loaded; nothing is recorded any more")
        # A signal handler may raise right after `acquire`, before any variable holds its result. Hence the
        # lock is released if this thread owns it.
        try:
            if not self._acquire():
                raise LoadingError("another thread still imports the emitter")
            if self._is_importing:
                raise LoadingError("the event was reported during an import that it needs itself")
            self._is_importing = True
            try:
                return function()
            except (MemoryError, SystemError):  # the latter if the interpreter itself gets no memory
                self._is_exhausted = True
                raise
            finally:
                self._is_importing = self._is_slow = False
        finally:
            self._release()

    def _acquire(self) -> bool:
        """Wait for the lock. Once a wait for an import was in vain, no other thread waits for that import."""
        if self._lock.acquire(blocking=False):
            return True
        wait_s = 0.0 if self._is_slow else WAIT_S
        if any(self._lock.acquire(blocking=False) for _ in polls(wait_s, _POLL_S)):
            return True
        self._is_slow = self._is_importing
        return False

    def _release(self) -> None:
        # Not `suppress`: a handler could raise inside it, before the release.
        try:  # noqa: SIM105
            self._lock.release()
        except RuntimeError:
            pass  # this thread does not own the lock, because its wait ended first

    def before_fork(self) -> None:
        """Wait until no other thread imports, but not for long."""
        self._acquire()

    def after_fork_in_parent(self) -> None:
        """Undo ``before_fork``."""
        self._release()

    def after_fork_in_child(self) -> None:
        """Undo ``before_fork``; a lock that a thread of the parent owns is replaced."""
        try:
            self._lock.release()
        except RuntimeError:
            self._lock = threading.RLock()
            self._is_cut_off = self._is_importing
            self._is_importing = self._is_slow = False


_guard = Guard()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_guard.before_fork,
        after_in_parent=_guard.after_fork_in_parent,
        after_in_child=_guard.after_fork_in_child,
    )


def undisturbed(function: Callable[[], _T]) -> Callable[[], _T]:
    """Decorate a function that imports: the guard holds while it runs, and its result is kept for later.

    The function must import with plain statements, so that tools that freeze programs see what it needs. It
    must not call another decorated function. It raises as ``Guard.call`` and as imports do.
    """
    kept: list[_T] = []

    def once() -> _T:
        if not kept:  # another thread may have called the function meanwhile
            kept.append(function())
        return kept[0]

    @functools.wraps(function)
    def call() -> _T:
        return kept[0] if kept else _guard.call(once)

    return call


@undisturbed
def psutil() -> ModuleType:
    """The package ``psutil``, which few processes need."""
    import psutil

    return psutil
