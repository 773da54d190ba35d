"""How a sidecar waits between two passes: for a change in the home, a signal, or the end of a time.

On Linux the kernel tells of a change (inotify(7)). Its messages only wake. The times of the files tell the
change itself, so a message that is lost or means nothing does no harm. The kernel tells only of changes that
are made through itself. On a file system that other machines use, too, and where the kernel
refuses, a sidecar on demand reads those times four times a second. A service reads them less and less often,
down to twice a minute.

This module never writes, and never lists a directory that did not change.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping

from flwr_telemetry import files, mounts, system

from ..runtime import Mode, Runtime
from ..spool.directory import known_hosts, turn_at
from .lifetime import PROGRAM
from .schedule import LONGEST_WAIT_S, POLL_S

GROWTH_S = 1.0
"""While events wait for the end of the window, appends wake nobody. The segment's size is read so often."""

REST_S = 0.02
"""The least time between two passes, in seconds, if the first one changes what wakes the second. It is also
the rest after messages that mean nothing: another program may be busy in a watched directory."""

MOST_WATCHES = 1024
"""The kernel keeps a kilobyte for each; with more of them, the times are read."""

# Of inotify(7).
_MODIFY, _ATTRIB, _MOVED, _CREATE, _DELETE = 0x2, 0x4, 0xC0, 0x100, 0x200
_SELF = 0xC00
"""The directory or the file itself is deleted or renamed."""
_NAMES = _MOVED | _CREATE | _DELETE | _SELF
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_MOST_BYTES = 64 * 1024

_MOST_LINKS = 40

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP}
"""The path cannot be watched; the directory above it is."""


class Inotify:
    """The messages of the kernel about some files and directories.

    Raises:
        OSError, ImportError, AttributeError: this system has none, or refuses.
    """

    def __init__(self) -> None:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        self._errno: Callable[[], int] = ctypes.get_errno
        self._add, self._remove = library.inotify_add_watch, library.inotify_rm_watch
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
        self.descriptor: int = self._checked(library.inotify_init1(_FLAGS))
        """It can be read when there are messages."""
        self._watched: dict[int, object] = {}

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(self._errno(), os.strerror(self._errno()))
        return result

    def watch(self, wanted: Mapping[str, int]) -> None:
        """Watch these paths and no others, each for the events of its mask. A missing one is left out.

        A path that names another file by now is watched anew.

        Raises:
            OSError: there are too many, or the kernel has no more watches for this user.
        """
        if len(wanted) > MOST_WATCHES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        found: dict[int, object] = {}
        for path, mask in wanted.items():
            try:
                found[self._checked(self._add(self.descriptor, os.fsencode(path), mask))] = path
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
        for number in self._watched.keys() - found.keys():
            self._remove(self.descriptor, number)
        self._watched = found

    def drain(self) -> None:
        """Forget all messages so far."""
        try:
            while os.read(self.descriptor, _MOST_BYTES):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """End all watches."""
        os.close(self.descriptor)


class IdleWait:
    """Sleeps between two passes, until something changes.

    Args:
        runtime: in mode service, the files of all hosts wake it, in the other modes only this host's files.
        is_woken: called at every waking; whether there is another reason for a pass than changed files.
        settings_files: those of consent.
    """

    def __init__(
        self,
        runtime: Runtime,
        is_woken: Callable[[], bool],
        settings_files: tuple[os.PathLike[str], ...] = (),
    ) -> None:
        self._home = runtime.home
        self._own = own = runtime.host
        self._clock = runtime.clock
        self._is_woken = is_woken
        self._is_alone = runtime.mode is not Mode.SERVICE
        self._turn = turn_at(own)
        # Strings, because building a path takes longer than reading its times.
        watched = (own.flush, own.lock, own.spool)
        self._paths = [str(path) for path in watched if self._is_alone]
        self._segments = [str(own.events)] if self._is_alone else []
        self._telemetry: object = None
        self._times: tuple[object, ...] = ()
        self._pause_s = POLL_S
        self._changed_at = runtime.clock.monotonic()
        self._hosts = [own.root_text]
        self._settings_files = [os.fspath(path) for path in settings_files]
        is_shared = runtime.is_shared or any(map(mounts.is_shared, self._settings_files))
        self._wait = runtime.clock.wait if system.LINUX and not is_shared else None
        self._inotify: Inotify | None = None

    def snapshot(self) -> None:
        """Note the files' times before a pass, because a change during the pass must cause another one."""
        self._times = self._signature()

    def quiet_s(self) -> float:
        """The seconds since the last waking that found a change."""
        return self._clock.monotonic() - self._changed_at

    def close(self) -> None:
        """Free what the kernel keeps for this."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def sleep(self, longest_s: float, most_s: float, *, until_event: bool = True) -> None:
        """Sleep until something has changed in the home since ``snapshot``.

        Args:
            longest_s: the longest time between two readings of the files' times, unless the kernel tells.
            most_s: the longest sleep; a pass is due after it even if nothing changed.
            until_event: whether an event that is appended to an open segment ends the sleep at once.
        """
        end = self._clock.monotonic() + most_s
        if self._wait is not None and self._sleep_until_told(self._wait, end, until_event=until_event):
            return
        while True:
            now = self._clock.monotonic()
            self._clock.sleep(min(self._pause_s, longest_s, max(end - now, POLL_S)))
            if self._has_changed():
                return
            self._pause_s = min(2 * self._pause_s, LONGEST_WAIT_S)
            if self._clock.monotonic() >= end:
                return

    def _sleep_until_told(self, wait: Callable[[float, int], None], end: float, *, until_event: bool) -> bool:
        """As ``sleep``, by the messages of the kernel; False if it refuses them."""
        longest_s, has_waited = LONGEST_WAIT_S if until_event else GROWTH_S, False
        grown_at = self._clock.monotonic() + (0.0 if until_event else GROWTH_S)
        due_at = -math.inf
        while (inotify := self._told(until_event=until_event)) is not None:
            inotify.drain()  # the files are read after that, so no message is lost
            if self._has_changed(by_growth=self._clock.monotonic() >= grown_at):
                if not has_waited:
                    self._clock.sleep(REST_S)
                return True
            now = self._clock.monotonic()
            if has_waited and now >= end:
                return True
            if now < due_at:
                self._clock.sleep(REST_S)
            due_at = now + min(longest_s, max(end - now, POLL_S))
            wait(due_at - now, inotify.descriptor)
            has_waited = True
        return False

    def _has_changed(self, *, by_growth: bool = True) -> bool:
        compared = slice(None if by_growth else -1)
        if self._is_woken() or self._signature()[compared] != self._times[compared]:
            self._pause_s, self._changed_at = POLL_S, self._clock.monotonic()
            return True
        return False

    def _signature(self) -> tuple[object, ...]:
        """The times that change whenever an event's file moves or, in the last place, grows.

        State files have no effect.
        """
        telemetry = None if self._is_alone else files.signature(self._home.telemetry)
        if telemetry != self._telemetry:
            self._telemetry = telemetry
            hosts = known_hosts(self._home)
            paths = [(host.spool, host.flush, host.outbox) for host in hosts]
            self._paths = [str(path) for path in itertools.chain(*paths)]
            self._segments = [str(host.events) for host in hosts]
            self._hosts = list({self._own.root_text: None, **{host.root_text: None for host in hosts}})
        with self._turn:
            others, segments = (list(map(files.signature, some)) for some in (self._paths, self._segments))
        return telemetry, others, [found and found[0] for found in segments], segments

    # The messages of the kernel

    def _told(self, *, until_event: bool) -> Inotify | None:
        """The messages about each change from now on; None if the kernel refuses. It is asked once."""
        wanted = self._wanted(_MODIFY if until_event else 0)
        try:
            if self._inotify is None:
                self._inotify = Inotify()
            self._inotify.watch(wanted)
        except (OSError, ImportError, AttributeError, MemoryError):  # a unit may deny what `ctypes` allocates
            self.close()
            self._wait = None
        return self._inotify

    def _wanted(self, appends: int) -> dict[str, int]:
        """The paths to watch, each with the events that wake.

        A new name is a message of its directory, which may be the nearest one that is there.
        """
        wanted: dict[str, int] = {}

        def add(path: str, mask: int) -> None:
            wanted[path] = wanted.get(path, 0) | mask

        for path in self._settings_files:
            add(path, _MODIFY | _ATTRIB | _SELF)
            for directory, mask in _way(path):
                add(directory, mask)
            add(_nearest(os.path.dirname(path)), _NAMES)
        add(str(self._home.path), _NAMES | _ATTRIB)  # its owner decides, too
        add(str(self._home.telemetry), _NAMES)
        add(str(self._own.lock), _ATTRIB | _SELF)
        add(PROGRAM, _MODIFY | _ATTRIB | _SELF)
        for root in self._hosts:
            spool, outbox = f"{root}/spool", f"{root}/outbox"
            add(spool, _NAMES | _ATTRIB | appends)
            if not self._is_alone:
                add(outbox, _NAMES)
            is_whole = os.path.isdir(spool) and (self._is_alone or os.path.isdir(outbox))
            add(root, _SELF if is_whole else _SELF | _CREATE | _MOVED)
        return wanted


def _nearest(directory: str) -> str:
    """A directory, or the nearest one above it that is there."""
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
    return directory


def _way(path: str) -> Iterator[tuple[str, int]]:
    """The directories that lead to a file, each with the events that change the way."""
    place, parts = "/", [part for part in path.split("/") if part]
    links = 0
    while parts:
        below = os.path.normpath(f"{place}/{parts.pop(0)}")
        try:
            target = os.readlink(below)
        except OSError:
            yield place, _SELF
            place = below
            continue
        yield place, _NAMES
        if (links := links + 1) > _MOST_LINKS:
            return
        place = "/" if target.startswith("/") else place
        parts = [part for part in target.split("/") if part] + parts
