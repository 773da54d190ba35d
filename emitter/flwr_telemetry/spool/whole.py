"""Writes whole segments: files that are complete before another process can find them.

A home that other machines use, too, has no open segment. There a lock may hang for ever, last for a minute,
be refused, or be seen by this machine alone. Names, modes and link counts come from caches. So each append
writes a draft, forces it to the disk, and renames it to a sealed segment. Its name has 16 hexadecimal digits
at the end, and a segment of another kind has 8.

- No process finds the segment before it is whole, and none appends to it. So no reader needs a lock, and the
  sidecar may delete it once its events are in a body.
- A process that dies leaves a draft, which is no segment. The future of its event did not say "spooled".
- A server that repeats a rename answers that the draft is missing. The segment is then there, or a sidecar
  has taken it already. Both are success, unless the whole spool is missing.
- On a soft mount the kernel may give up before the server answers the rename. The server may have done it. So
  the next append of the same data repeats the rename, and makes no second segment.
- Processes of this machine take turns, so that each can be ended while the server is away; see ``turn.py``.
- A sidecar, or a person, may remove the spool meanwhile (ENOENT, ESTALE). Then consent is read again, the
  directories are made, and the segment is written once more.
- The server may answer hours later, and telemetry may be off by then. So consent is read again before the
  rename, if the draft has taken long.

On NFS the draft is written with ``O_DIRECT``. So this machine never holds data that the server lacks, and the
process can end while the server is away. The server reports an error at the write or at the fsync, and never
at the close. This module takes no lock and opens no segment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable

from .. import files, system
from ..errors import UNREACHABLE_ERRNOS, SpoolFullError, from_os_error
from ..layout import SEGMENT_SUFFIX, HostPaths, is_whole, whole_name
from ..turn import Turn
from . import TRIES, CreationRefusedError, check_directories, drop, make_directories

LATE_S = 0.05
"""If a draft takes longer, it has waited for the server, and consent is read again."""

LEAST_BYTES = 4096
"""The least size that a segment counts as, because it takes a whole block of the disk."""

_LIST_EVERY = 256
_LIST_AGAIN_S = 1.0
"""The spool is listed again after this number of appends, and while it is at its cap, after this time."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_DIRECT = getattr(os, "O_DIRECT", 0)


class UnansweredError(OSError):
    """The server has not answered a rename, and may have done it. ``publish`` can be called again."""


def write(
    spool: str, name: str, data: bytes, may_go_on: Callable[[], bool], turn: Turn, *, is_direct: bool = False
) -> None:
    """Write one sealed segment; once this returns, a sidecar finds it.

    Args:
        spool: the directory of segments.
        name: of the segment, as ``layout.whole_name`` makes it.
        data: whole records.
        may_go_on: consent, read again; called if the server has made this wait.
        turn: the turn at the spool, taken while the kernel locks the directory.
        is_direct: whether to write past this machine's cache, if the file system can.

    Raises:
        FileNotFoundError: the directory is missing, or was removed meanwhile.
        CreationRefusedError: telemetry is off by now.
        UnansweredError: it is not known whether there is a segment.
        SpoolError, OSError: the segment could not be written, and there is none.
    """
    began, draft = time.monotonic(), _draft(spool, name)
    try:
        with turn:
            descriptor = _create(draft, _DIRECT if is_direct else 0)
        _write_draft(draft, descriptor, data)
        _refuse_if_late(began, may_go_on)
    except BaseException:
        _remove(draft, turn)
        raise
    publish(spool, name, turn)


def publish(spool: str, name: str, turn: Turn) -> None:
    """Rename a draft to its segment; raises as ``write``."""
    draft = _draft(spool, name)
    try:
        with turn, files.estale_as_missing():
            _rename(spool, draft, f"{spool}/{name}")
    except OSError as error:
        if error.errno in UNREACHABLE_ERRNOS:
            raise UnansweredError(error.errno, error.strerror, draft) from error
        _remove(draft, turn)
        raise


def _draft(spool: str, name: str) -> str:
    return f"{spool}/.{name}{files.PART_SUFFIX}"


def _remove(draft: str, turn: Turn) -> None:
    with turn, contextlib.suppress(OSError):
        os.unlink(draft)


def _create(draft: str, direct: int) -> int:
    try:
        return files.open_file(draft, _FLAGS | direct)
    except OSError as error:
        if not direct or error.errno != errno.EINVAL:
            raise
        return files.open_file(draft, _FLAGS)


def _write_draft(draft: str, descriptor: int, data: bytes) -> None:
    try:
        with files.estale_as_missing():
            written = os.write(descriptor, data)
            system.fsync(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    if written != len(data):
        raise SpoolFullError(f"{draft}: only {written} of {len(data)} bytes could be written")


def _refuse_if_late(began: float, may_go_on: Callable[[], bool]) -> None:
    if not 0 <= time.monotonic() - began < LATE_S and not may_go_on():
        raise CreationRefusedError


def _rename(spool: str, draft: str, sealed: str) -> None:
    try:
        os.rename(draft, sealed)
    except FileNotFoundError:
        is_taken = os.path.lexists(spool) and not os.path.lexists(draft)
        if not is_taken and not os.path.lexists(sealed):
            raise


class WholeWriter:
    """Appends to the spool of a shared home, for one thread at a time; as ``spool.Writer`` does elsewhere.

    Args:
        host: this host; its directories are created when first needed.
        may_create: whether consent allows a new directory; called before every creation.
        on_open: called whenever this writer has checked and listed the spool.
        is_direct: as for ``write``.
    """

    def __init__(
        self,
        host: HostPaths,
        may_create: Callable[[], bool],
        on_open: Callable[[], None],
        *,
        is_direct: bool = False,
    ) -> None:
        self._host = host
        self._may_create = may_create
        self._on_open = on_open
        self._is_direct = is_direct
        self._spool = str(host.spool)
        self._turn = Turn(self._spool)
        self._used_bytes = 0
        self._appends_left = 0
        """The number of appends before the spool is listed again."""
        self._listed_at = 0.0
        self._unanswered: tuple[bytes, str] | None = None
        """The data and the name of a segment whose rename may have been done."""

    def append(self, data: bytes, cap_bytes: float, count: int = 1) -> None:
        """Append records as one segment; as ``spool.Writer.append``, with the cap for the whole spool.

        Args:
            data: the records.
            cap_bytes: the largest size of the spool.
            count: the number of records, which are counted if they are dropped.
        """
        try:
            self._append(data, cap_bytes, count)
        except OSError as error:
            self.close()
            raise from_os_error(error, self._spool) from error

    def _append(self, data: bytes, cap_bytes: float, count: int) -> None:
        size_bytes = max(len(data), LEAST_BYTES)
        for tries_left in reversed(TRIES):
            try:
                if self._is_listing_due(size_bytes, cap_bytes):
                    with self._turn:
                        self._list()
                if self._used_bytes + size_bytes > cap_bytes:
                    drop(self._host, self._may_create, count)
                self._write(data)
            except FileNotFoundError:
                self._appends_left = 0
                if not tries_left:
                    raise
                with self._turn:
                    make_directories(self._host, self._may_create)
            else:
                self._used_bytes += size_bytes
                self._appends_left -= 1
                return

    def _write(self, data: bytes) -> None:
        unanswered, name = self._unanswered, whole_name(time.time_ns())
        self._unanswered = None
        try:
            if unanswered is not None and unanswered[0] == data:
                name = unanswered[1]
                publish(self._spool, name, self._turn)
            else:
                write(self._spool, name, data, self._may_create, self._turn, is_direct=self._is_direct)
        except UnansweredError:
            self._unanswered = data, name
            raise

    def close(self) -> None:
        """List the spool again before the next append. A forked child ends the turn that it inherited."""
        self._appends_left = 0
        self._turn.end()

    def _is_listing_due(self, size_bytes: int, cap_bytes: float) -> bool:
        """Whether the spool must be listed; not for each event at the cap, because that takes long there."""
        if self._appends_left <= 0 or self._used_bytes + size_bytes <= cap_bytes:
            return self._appends_left <= 0
        self._appends_left -= 1
        return not 0 <= time.monotonic() - self._listed_at < _LIST_AGAIN_S

    def _list(self) -> None:
        """Check the directories, and add up the segments."""
        check_directories(self._host)
        with files.estale_as_missing(), os.scandir(self._spool) as entries:
            found = [entry for entry in entries if entry.name.endswith(SEGMENT_SUFFIX)]
        used_bytes = 0
        for entry in found:
            size_bytes = 0
            if not is_whole(entry.name):  # the status of each would be a request to the server
                with contextlib.suppress(OSError):  # a sidecar has taken it
                    size_bytes = entry.stat(follow_symlinks=False).st_size
            used_bytes += max(size_bytes, LEAST_BYTES)
        self._used_bytes, self._appends_left, self._listed_at = used_bytes, _LIST_EVERY, time.monotonic()
        self._on_open()
