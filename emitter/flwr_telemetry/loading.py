"""What an event loads, loaded where neither a signal handler nor a fork can come between.

Python runs signal handlers in the main thread, in the midst of an import too: an event in a handler would
meet modules that are half there, and a handler that ends the process would leave them so. So another thread
imports, and whoever needs the modules waits for it; an event in a handler then waits for the same ones. A
fork is put off, for a child that is forked amid an import waits for ever for the import of a thread that it
does not have.

This room must never wait for long, nor twice for the same, and never hold up the end of a process: its
threads are none that the interpreter waits for.
"""

from __future__ import annotations

# Not `threading.Thread`: that takes locks which an event in a handler may have interrupted.
import _thread
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .errors import TelemetryError

WAIT_S = 5.0
"""How long a process waits for its first event, if a disk, or the database of users, is that slow."""

FORK_WAIT_S = 1.0
"""How long a fork is put off for what is being loaded."""

_OVERDUE = (
    "the emitter is not loaded yet: the disk or the database of users is slow, or the event was reported in "
    "the midst of an import that it needs itself"
)


class Loading:
    """What a process has loaded, and is loading now."""

    def __init__(self) -> None:
        self._loaded: set[str] = set()
        self._start_afresh()

    def _start_afresh(self) -> None:
        # A forked child has none of the threads that were loading; a lock cannot be mended, only replaced.
        self._lock = threading.RLock()
        self._owner = 0
        self._overdue: _thread.LockType | None = None
        self._forking: set[int] = set()

    def load(self, *names: str) -> Any:
        """Import modules, and give the last of them; raises as imports do, and as ``undisturbed``."""
        if not self._loaded.issuperset(names):
            if not all(map(_is_there, names)):
                self.undisturbed(lambda: [importlib.import_module(name) for name in names])
            self._loaded.update(names)
        return importlib.import_module(names[-1])

    def undisturbed(self, function: Callable[[], object]) -> None:
        """Call what imports, one such call at a time.

        Raises:
            TelemetryError: it takes too long, or another call has taken too long and is still at it.
        """
        if self._owner == threading.get_ident():
            function()  # a load within a load
            return
        if self._is_overdue():
            raise TelemetryError(_OVERDUE)
        done = _thread.allocate_lock()
        done.acquire()
        raised: list[BaseException] = []

        def run() -> None:
            try:
                self._alone(function)
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                raised.append(error)
            finally:
                done.release()

        if not _start(run):
            self._alone(function)
            return
        if not done.acquire(timeout=WAIT_S):
            self._overdue = done
            raise TelemetryError(_OVERDUE)
        if raised:
            raise raised[0]

    def _is_overdue(self) -> bool:
        return self._overdue is not None and self._overdue.locked()

    def _alone(self, function: Callable[[], object]) -> None:
        with self._lock:
            self._owner = threading.get_ident()
            try:
                function()
            finally:
                self._owner = 0

    def watch_forks(self) -> None:
        """See that no fork of this process comes amid a load; for the one of a process, once."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._start_afresh,
            )

    def _before_fork(self) -> None:
        # What has been waited for in vain is not waited for again.
        thread = threading.get_ident()
        self._forking.add(thread)
        if not self._lock.acquire(timeout=0 if self._is_overdue() else FORK_WAIT_S):
            self._forking.discard(thread)

    def _after_fork_in_parent(self) -> None:
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self._lock.release()


def _is_there(name: str) -> bool:
    """Whether the process has loaded a module by itself, to its end."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", True)


def _start(function: Callable[[], None]) -> bool:
    """Start a thread; False if there can be none, as at the end of the interpreter."""
    if sys.is_finalizing():  # 3.11 would start one, and it would never run
        return False
    try:
        _thread.start_new_thread(function, ())
    except RuntimeError:
        return False
    return True
