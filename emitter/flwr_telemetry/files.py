"""Directories and files that are surely ours: the few calls by which both packages open and create.

A directory is 0700 and a file 0600, whatever the umask. Nothing is followed: a link, FIFO, device or
file of another user in our place is refused with a word, never opened for good. No function here may
create anything without being asked to.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import UNSAFE_ERRNOS, SpoolUnsafeError

if sys.platform != "win32":
    import fcntl

SKEW_S = 3600.0
"""A time may lie so far ahead: the clocks of hosts that share a home differ by minutes."""

PART_SUFFIX = ".part"
"""Of a file that is being written; a death leaves it."""

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
REMOVED = stat.S_IXUSR
"""The mode bit of a segment that is about to be removed: NFS shows a name, and a link, for longer than they
last, but to whoever has just got the lock it shows a mode as it is."""

_STANDARD_ERROR = 2
_TRIES = 3
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# O_NONBLOCK so that a FIFO in a file's place answers at once instead of holding the caller.
_SAFE_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def stale_is_gone() -> Iterator[None]:
    """Have a stale handle mean what it comes from: another host of a network file system removed the file.

    Not for what a user put there: a settings file that cannot be asked is no settings file that is not there.

    Raises:
        FileNotFoundError: in place of ESTALE.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ESTALE), error.filename) from error


def ensure_directory(path: Path) -> bool:
    """Make ``path`` a directory of ours; its parent must exist.

    Returns:
        Whether this call created it.

    Raises:
        SpoolUnsafeError: something else stands there.
        OSError: the system's refusal.
    """
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        check_directory(path)
        return False
    if stat.S_IMODE(os.stat(path).st_mode) != DIRECTORY_MODE:
        os.chmod(path, DIRECTORY_MODE)
    return True


def make_home(path: Path) -> None:
    """Make the home and its parents, as far as they are not there; whose they are is consent's affair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        os.chmod(path, DIRECTORY_MODE)


def check_directory(path: Path) -> None:
    """Raise SpoolUnsafeError unless ``path`` is a real directory that only its owner, us, can write to."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        msg = f"{path} is a link or no directory; remove it"
        raise SpoolUnsafeError(msg)
    if status.st_uid != os.geteuid():
        msg = f"{path} belongs to another user; remove it or set FLWR_HOME"
        raise SpoolUnsafeError(msg)
    if status.st_mode & _OTHERS_WRITE:
        msg = f"{path} can be written to by others; chmod 700 it"
        raise SpoolUnsafeError(msg)


def check_file(path: Path | str) -> None:
    """Raise SpoolUnsafeError unless ``path`` is a plain file of ours that nobody else can write to.

    Raises:
        SpoolUnsafeError: it is something else.
        OSError: the system's refusal; FileNotFoundError where nothing is.
    """
    _check_status(path, os.lstat(path))


def open_file(path: Path | str, flags: int) -> int:
    """A descriptor of a plain file of ours.

    Args:
        path: what to open.
        flags: the access mode and, to create it, ``O_CREAT``.

    Raises:
        SpoolUnsafeError: it is no plain file, or not ours.
        OSError: the system's refusal.
    """
    try:
        with stale_is_gone():
            descriptor = _not_standard(os.open(path, flags | _SAFE_FLAGS, FILE_MODE))
    except OSError as error:
        if error.errno not in UNSAFE_ERRNOS:
            raise
        msg = f"{path} is a link, a FIFO or a device ({error.strerror}); remove it"
        raise SpoolUnsafeError(msg) from error
    try:
        with stale_is_gone():
            _check_file(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_opened_with(descriptor: int, flags: int) -> bool:
    """Whether a descriptor looks like one that ``open_file`` made with these flags, ``O_CREAT`` apart.

    That much can be told of a file that another host has removed; hardly anybody else opens in this way.
    """
    wanted = flags | _SAFE_FLAGS & ~getattr(os, "O_CLOEXEC", 0)
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError:
        return False
    return found & wanted == wanted and found & os.O_ACCMODE == flags & os.O_ACCMODE


def _not_standard(descriptor: int) -> int:
    """The same file under a number that is no standard stream.

    Where a process has closed one of them, the next file opened takes its place, and whatever the process
    prints or fails with would go into it.
    """
    if descriptor > _STANDARD_ERROR:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD_ERROR + 1)
    finally:
        os.close(descriptor)


def _check_file(path: Path | str, descriptor: int) -> None:
    status = os.fstat(descriptor)
    _check_status(path, status)
    if status.st_size == 0 and stat.S_IMODE(status.st_mode) != FILE_MODE:
        os.fchmod(descriptor, FILE_MODE)  # just created, and a umask took away what the owner needs


def _check_status(path: Path | str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        msg = f"{path} is a link or no plain file; remove it"
    elif status.st_uid != os.geteuid():
        msg = f"{path} belongs to another user; remove it"
    elif status.st_mode & _OTHERS_WRITE:
        msg = f"{path} can be written to by others; chmod 600 it"
    else:
        return
    raise SpoolUnsafeError(msg)


def write_all(descriptor: int, data: bytes) -> None:
    """Write ``data``, in as many calls as the system needs."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def append_bytes(path: Path, data: bytes) -> None:
    """Append ``data`` to the file at ``path``, created if need be, in one write where the system can."""
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, most_bytes: int, *, users_own: bool = False) -> bytes:
    """At most so many bytes of a plain file.

    Args:
        path: which.
        most_bytes: how many.
        users_own: it is the user's to put there, not ours: it may be a link to a file, whoever owns that.

    Raises:
        SpoolUnsafeError: it is no plain file; a FIFO does not hold us.
        OSError: the system's refusal.
    """
    tries = _TRIES
    while True:
        try:
            return _read(path, most_bytes, users_own=users_own)
        except OSError as error:
            tries -= 1
            if not tries or error.errno != errno.ESTALE:
                raise  # else another host of a network file system has replaced it: there is a new one


def _read(path: Path, most_bytes: int, *, users_own: bool) -> bytes:
    descriptor = _open_any(path) if users_own else open_file(path, os.O_RDONLY)
    try:
        found = b""
        while len(found) < most_bytes and (data := os.read(descriptor, most_bytes - len(found))):
            found += data
        return found
    finally:
        os.close(descriptor)


def _open_any(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | _SAFE_FLAGS & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    msg = f"{path} is no plain file; remove it"
    raise SpoolUnsafeError(msg)


def replace_bytes(path: Path, data: bytes, *, durable: bool = False, users_own: bool = False) -> None:
    """Put ``data`` at ``path``, whole or not at all.

    Args:
        path: where.
        data: what.
        durable: have it on the disk before it is named.
        users_own: it is the user's: whoever may read or write what stands there, it is replaced.

    Raises:
        As ``replace_by``.
    """
    replace_by(path, (data,), durable=durable, users_own=users_own)


def replace_by(
    path: Path, pieces: Iterable[bytes], *, durable: bool = False, users_own: bool = False
) -> None:
    """The same for what is too long to be held in memory.

    Raises:
        SpoolUnsafeError: what stands there is no file of ours; it is left as it is.
        OSError: the system's refusal.
    """
    if not users_own:
        with contextlib.suppress(FileNotFoundError):
            check_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    descriptor = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        try:
            for data in pieces:
                write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
            written = os.fstat(descriptor)
        finally:
            os.close(descriptor)  # a network file system may refuse only here what was written
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        # Of a request that was answered into the void NFS sends a second one, which finds nothing to rename.
        if not _is_at(path, written):
            raise


def _is_at(path: Path, status: os.stat_result) -> bool:
    """Whether the file of this status has this path."""
    with contextlib.suppress(OSError):
        named = os.lstat(path)
        return (named.st_ino, named.st_dev) == (status.st_ino, status.st_dev)
    return False


def touch(path: Path) -> None:
    """Create ``path`` or set its times to now, as the file system tells now."""
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def age_s(now: float, then: float) -> float:
    """The age of something, between two times of its file system; negative where ``then`` lies ahead.

    What lies further ahead than ``SKEW_S`` was written before a clock was set back, and by nobody since.
    Nothing tells how old it is; it is infinitely old, so that nobody waits until the clock has caught up.
    """
    age = now - then
    return age if age >= -SKEW_S else math.inf


def now(path: Path) -> float:
    """The time of the file system, in seconds since its epoch: that of ``path``, touched for it."""
    touch(path)
    return os.stat(path).st_mtime
