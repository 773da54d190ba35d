"""Imports the modules that the first event of a process needs, one at a time, and never during a fork.

A signal handler may interrupt an import. An event in that handler would use half-imported modules, so it
fails with a TelemetryError. A child that is forked during the import of another thread would wait for that
import forever. So the fork waits for the end of the import.

This module never starts a thread, and imports nothing of this package but the errors.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import TelemetryError

_T = TypeVar("_T")

WAIT_S = 5.0
"""How long a thread waits for the import of another thread."""

FORK_WAIT_S = 1.0
"""How long a fork waits for the import of another thread."""


class Guard:
    """Lets one thread at a time import. A process has one instance, which is private to this module."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # its owner, interrupted by a handler, does not wait for itself
        self._began: float | None = None
        """When the running import began, on the monotonic clock."""
        self._is_cut_off = False
        """Whether this process was forked during an import of another thread."""

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function that only imports.

        Raises:
            TelemetryError: this thread is importing already, the import of another thread takes longer than
                ``WAIT_S``, or this process was forked during an import.
        """
        if self._is_cut_off:
            raise TelemetryError("the process was forked during an import; report an event before the fork")
        # A signal handler may raise right after `acquire`, before any variable holds its result. Hence the
        # lock is released if this thread owns it.
        try:
            if not self._lock.acquire(timeout=self._wait_s(WAIT_S)):
                raise TelemetryError("another thread still imports the emitter; the disk may be slow")
            if self._began is not None:
                raise TelemetryError("the event was reported during an import that it needs itself")
            self._began = time.monotonic()
            try:
                return function()
            finally:
                self._began = None
        finally:
            # Not `suppress`: a handler could raise inside it, before the release.
            try:  # noqa: SIM105
                self._lock.release()
            except RuntimeError:
                pass  # this thread does not own the lock

    def _wait_s(self, most_s: float) -> float:
        """The time to wait for another thread: none if its import takes too long already."""
        began = self._began
        return 0.0 if began is not None and time.monotonic() - began > WAIT_S else most_s

    def before_fork(self) -> None:
        """Wait until no other thread imports, but not for long."""
        self._lock.acquire(timeout=self._wait_s(FORK_WAIT_S))

    def after_fork_in_parent(self) -> None:
        """Undo ``before_fork``."""
        with contextlib.suppress(RuntimeError):  # this thread does not own it, because its wait ended first
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Undo ``before_fork``; a lock that a thread of the parent owns is replaced."""
        try:
            self._lock.release()
        except RuntimeError:
            self._lock = threading.RLock()
            self._is_cut_off = self._began is not None
            self._began = None


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
