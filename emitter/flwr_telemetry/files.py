"""Opens, creates and replaces files and directories safely, for both packages.

A directory has the mode 0700 and a file 0600, whatever the umask. A link, a FIFO, a device or a file of
another user in their place is refused with a message, and never used. No function here creates
anything unless its caller asks for it.
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
"""A time may lie this far in the future, because the clocks of hosts that share a home differ by minutes."""

PART_SUFFIX = ".part"
"""The suffix of a file that is being written. If its writer is killed, the file stays."""

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
TOMBSTONE_MODE = stat.S_IXUSR
"""The mode bit that a segment gets before it is unlinked. NFS clients cache names and link counts, but they
refresh attributes when they take a lock."""

_STANDARD_ERROR = 2
_TRIES = 3
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# O_NONBLOCK, so that a FIFO in the place of a file does not block the caller.
_SAFE_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def estale_as_missing() -> Iterator[None]:
    """Treat a stale handle as a missing file, because another host of a network file system removed the file.

    Not for a settings file: one that cannot be read must not count as one that is missing.

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
    """Create the directory ``path``, or check the one that is there; its parent must exist.

    Returns:
        Whether this call created it.

    Raises:
        SpoolUnsafeError: it is no directory, or not safe; see ``check_directory``.
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
    """Create the home and its parents if they are missing. Consent checks their owner, not this function."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        os.chmod(path, DIRECTORY_MODE)


def check_directory(path: Path) -> None:
    """Raise SpoolUnsafeError unless ``path`` is a directory of this user that nobody else can write to."""
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
    """Raise SpoolUnsafeError unless ``path`` is a plain file of this user that nobody else can write to.

    Raises:
        SpoolUnsafeError: it is something else.
        OSError: the system's refusal; FileNotFoundError if there is no file.
    """
    _check_status(path, os.lstat(path))


def open_file(path: Path | str, flags: int) -> int:
    """A descriptor of a plain file of this user.

    Args:
        path: the file to open.
        flags: the access mode and, to create it, ``O_CREAT``.

    Raises:
        SpoolUnsafeError: it is no plain file, or belongs to another user.
        OSError: the system's refusal.
    """
    try:
        with estale_as_missing():
            descriptor = _not_standard(os.open(path, flags | _SAFE_FLAGS, FILE_MODE))
    except OSError as error:
        if error.errno not in UNSAFE_ERRNOS:
            raise
        msg = f"{path} is a link, a FIFO or a device ({error.strerror}); remove it"
        raise SpoolUnsafeError(msg) from error
    try:
        with estale_as_missing():
            _check_file(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_opened_with(descriptor: int, flags: int) -> bool:
    """Whether ``open_file`` may have opened a descriptor with these flags, ``O_CREAT`` apart.

    The flags can be read even if another host has removed the file. Hardly any other code opens files with
    them.
    """
    wanted = flags | _SAFE_FLAGS & ~getattr(os, "O_CLOEXEC", 0)
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError:
        return False
    return found & wanted == wanted and found & os.O_ACCMODE == flags & os.O_ACCMODE


def _not_standard(descriptor: int) -> int:
    """The same file under a number that is no standard stream.

    If a process has closed one of those, the next file that it opens takes the number. Then all that the
    process prints would go into the file.
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
        os.fchmod(descriptor, FILE_MODE)  # just created, under a umask that took away rights of the owner


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
    """Write all of ``data``, in as many calls as that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def append_bytes(path: Path, data: bytes) -> None:
    """Append ``data`` to the file at ``path``, created if it is missing; in one write if the system can."""
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, most_bytes: int, *, any_owner: bool = False) -> bytes:
    """The first ``most_bytes`` bytes of a plain file.

    Args:
        path: the file.
        most_bytes: the most bytes to read.
        any_owner: the user may have put the file there, also as a link, and it may have any owner.

    Raises:
        SpoolUnsafeError: it is no plain file; a FIFO does not block the caller.
        OSError: the system's refusal.
    """
    tries = _TRIES
    while True:
        try:
            return _read(path, most_bytes, any_owner=any_owner)
        except OSError as error:
            tries -= 1
            if not tries or error.errno != errno.ESTALE:
                raise  # after ESTALE there is a new file: another host of a network file system replaced it


def _read(path: Path, most_bytes: int, *, any_owner: bool) -> bytes:
    descriptor = _open_any(path) if any_owner else open_file(path, os.O_RDONLY)
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


def replace_bytes(path: Path, data: bytes, *, durable: bool = False, any_owner: bool = False) -> None:
    """Replace the file at ``path`` atomically by one that holds ``data``.

    Args:
        path: the file; it need not exist.
        data: the new content.
        durable: force the content to the disk before the file gets its name.
        any_owner: replace the old file whatever its owner and mode are.

    Raises:
        As ``replace_by``.
    """
    replace_by(path, (data,), durable=durable, any_owner=any_owner)


def replace_by(
    path: Path, pieces: Iterable[bytes], *, durable: bool = False, any_owner: bool = False
) -> None:
    """The same for content that is too long for the memory, in pieces.

    Raises:
        SpoolUnsafeError: the old one is no plain file of this user; it stays.
        OSError: the system's refusal.
    """
    if not any_owner:
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
            os.close(descriptor)  # a network file system may report a failed write only here
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        # NFS repeats a rename whose answer was lost, and the repeated one finds nothing to rename.
        if not _is_at(path, written):
            raise


def _is_at(path: Path, status: os.stat_result) -> bool:
    """Whether the file with this status has this path."""
    with contextlib.suppress(OSError):
        named = os.lstat(path)
        return (named.st_ino, named.st_dev) == (status.st_ino, status.st_dev)
    return False


def touch(path: Path) -> None:
    """Create ``path``, or set its times to the present, by the clock of the file system."""
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def age_s(now: float, then: float) -> float:
    """The age of something in seconds, between two times of its file system; negative if ``then`` is ahead.

    A time that is ahead by more than ``SKEW_S`` means that the clock was set back. The age is infinite then,
    so that nothing waits until the clock has caught up.
    """
    age = now - then
    return age if age >= -SKEW_S else math.inf


def now(path: Path) -> float:
    """The present time of the file system, in seconds since the epoch; it touches ``path`` to learn it."""
    touch(path)
    return os.stat(path).st_mtime
