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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import system
from .errors import UNSAFE_ERRNOS, UNSUPPORTED_ERRNOS, SpoolUnsafeError, from_os_error

SKEW_S = 3600.0
"""A time may lie this far in the future, because the clocks of hosts that share a home differ by minutes."""

PART_SUFFIX = ".part"
"""The suffix of a file that is being written; it stays if its writer is killed."""

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
TOMBSTONE_MODE = stat.S_IXUSR
"""The mode bit that a segment gets before it is unlinked. NFS clients cache names and link counts, but they
refresh attributes when they take a lock."""

_TRIES = 3


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


# Directories


def ensure_directory(path: Path) -> bool:
    """Create the directory ``path``, or check the one that is there; its parent must exist.

    Returns:
        Whether this call created it.

    Raises:
        SpoolUnsafeError: it is no directory, or not safe; see ``check_directory``. A new one is not safe on a
            share or a mounted volume that gives such modes to everything.
        OSError: the system's refusal.
    """
    is_new = _make_directory(path)
    check_directory(path)
    return is_new


def make_home(path: Path) -> None:
    """Create the home and its parents if they are missing. Consent checks their owner, not this function."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _make_directory(path) and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _make_directory(path: Path) -> bool:
    """Create a directory of ``DIRECTORY_MODE``, whatever the umask; false if the name is taken."""
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        return False
    if stat.S_IMODE(os.stat(path).st_mode) != DIRECTORY_MODE:
        with contextlib.suppress(OSError):  # a share that has modes of its own may refuse
            os.chmod(path, DIRECTORY_MODE)
    return True


_NAMES = {stat.S_IFDIR: "directory", stat.S_IFREG: "plain file"}
_MODES = {stat.S_IFDIR: DIRECTORY_MODE, stat.S_IFREG: FILE_MODE}


def check_directory(path: Path) -> None:
    """Raise SpoolUnsafeError unless ``path`` is a directory of this user that nobody else can write to."""
    _check(path, os.lstat(path), stat.S_IFDIR)


def check_file(path: Path | str) -> None:
    """Raise SpoolUnsafeError unless ``path`` is a plain file of this user that nobody else can write to.

    Raises:
        SpoolUnsafeError: it is something else.
        OSError: the system's refusal; FileNotFoundError if there is no file.
    """
    _check(path, os.lstat(path), stat.S_IFREG)


def _check(path: Path | str, status: os.stat_result, kind: int, *, any_owner: bool = False) -> None:
    if stat.S_IFMT(status.st_mode) != kind:
        raise SpoolUnsafeError(f"{path} is a link or no {_NAMES[kind]}; remove it")
    if any_owner:
        return
    if not system.is_own(status):
        raise SpoolUnsafeError(f"{path} belongs to another user; remove it or set FLWR_HOME")
    if system.is_open_to_others(status):
        raise SpoolUnsafeError(f"{path} can be written to by others; {chmod_advice(_MODES[kind])}")


def chmod_advice(mode: int) -> str:
    """Advice on how to take away the rights of others, also on a share that shows one mode for all files."""
    others = "mount the volume with umask=077 or set FLWR_HOME to another one"
    return f"chmod {mode:o} it, or, where that changes nothing, {others}"


# Open files


def open_file(path: Path | str, flags: int, *, any_owner: bool = False) -> int:
    """A descriptor of a plain file.

    Args:
        path: the file to open.
        flags: the access mode and, to create it, ``O_CREAT``.
        any_owner: accept a file of any owner, also through a link; a stale handle stays an error then.

    Raises:
        SpoolUnsafeError: it is no plain file, or belongs to another user.
        OSError: the system's refusal.
    """
    safe_flags = system.SAFE_FLAGS & ~system.NO_FOLLOW if any_owner else system.SAFE_FLAGS
    with contextlib.nullcontext() if any_owner else estale_as_missing():
        try:
            descriptor = system.open_descriptor(path, flags | safe_flags, FILE_MODE)
        except OSError as error:
            if error.errno in UNSUPPORTED_ERRNOS:  # a socket, on macOS
                raise SpoolUnsafeError(f"{path} is no plain file; remove it") from error
            if error.errno not in UNSAFE_ERRNOS:
                raise
            raise from_os_error(error, str(path)) from error
        try:
            status = os.fstat(descriptor)
            _check(path, status, stat.S_IFREG, any_owner=any_owner)
            if not any_owner and status.st_size == 0 and stat.S_IMODE(status.st_mode) != FILE_MODE:
                with contextlib.suppress(OSError):  # a share that has modes of its own may refuse
                    # It is new, under a umask that took away rights of the owner.
                    system.set_mode(descriptor, FILE_MODE)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


@contextlib.contextmanager
def opened(path: Path | str, flags: int, *, any_owner: bool = False) -> Iterator[int]:
    """``open_file`` for the time of a ``with`` block, which also raises the errors of the close."""
    descriptor = open_file(path, flags, any_owner=any_owner)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entry_names(directory: Path | str) -> list[str]:
    """The names in a directory, in order; none if it is missing."""
    try:
        with estale_as_missing():
            return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def names(path: Path | str, file: int | os.stat_result) -> bool:
    """Whether a path still names a file; false if the path or the file is missing or stale.

    Args:
        path: the path under which the file was opened; a link does not name its target.
        file: the descriptor of the file, or its status if it is closed already.

    Raises:
        OSError: the system's refusal.
    """
    try:
        with estale_as_missing():
            status = os.fstat(file) if isinstance(file, int) else file
            return os.path.samestat(os.lstat(path), status)
    except FileNotFoundError:
        return False


def signature(path: Path | str) -> tuple[int, int, int] | None:
    """A value that changes when the file is replaced, removed or written; None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


# Reading and writing


def read_bytes(path: Path, most_bytes: int, *, any_owner: bool = False) -> bytes:
    """The first ``most_bytes`` bytes of a plain file.

    Args:
        path: the file.
        most_bytes: the most bytes to read.
        any_owner: accept a file of any owner, also through a link, because the user may have put it there.

    Raises:
        SpoolUnsafeError: it is no plain file; a FIFO does not block the caller.
        OSError: the system's refusal.
    """
    tries = _TRIES
    while True:
        try:
            with opened(path, os.O_RDONLY, any_owner=any_owner) as descriptor:
                found = b""
                while len(found) < most_bytes and (data := os.read(descriptor, most_bytes - len(found))):
                    found += data
            return found
        except OSError as error:
            tries -= 1
            if not tries or error.errno != errno.ESTALE:
                raise  # after ESTALE there is a new file: another host of a network file system replaced it


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, in as many calls as that takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def append_bytes(path: Path, data: bytes) -> None:
    """Append ``data`` to the file at ``path``, created if it is missing; in one write if the system can."""
    with opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as descriptor:
        write_all(descriptor, data)


def replace_bytes(path: Path, data: bytes, *, durable: bool = False, any_owner: bool = False) -> None:
    """``replace_by`` for content in one piece."""
    replace_by(path, (data,), durable=durable, any_owner=any_owner)


def replace_by(
    path: Path,
    data: Iterable[bytes],
    *,
    durable: bool = False,
    any_owner: bool = False,
    before: Callable[[], object] = lambda: None,
) -> None:
    """Replace the file at ``path`` atomically.

    Args:
        path: the file; it need not exist.
        data: the new content in pieces, which may be too large for the memory.
        durable: force the content to the disk before the file gets its name.
        any_owner: replace an old file of any owner and mode, also on a share with modes of its own.
        before: called right before the rename, which Windows refuses while the old file is open.

    Raises:
        SpoolUnsafeError: the old file is no plain file of this user; it stays.
        OSError: the system's refusal; the old file stays.
    """
    if not any_owner:
        with contextlib.suppress(FileNotFoundError):
            check_file(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        if any_owner:
            with contextlib.suppress(FileNotFoundError):
                system.unlink(temporary)
            flags |= os.O_EXCL  # never through a link
        # A network file system may report a failed write only at the close.
        with opened(temporary, flags, any_owner=any_owner) as descriptor:
            if any_owner:
                with contextlib.suppress(OSError):
                    system.set_mode(descriptor, FILE_MODE)
            for piece in data:
                write_all(descriptor, piece)
            if durable:
                system.fsync(descriptor)
            written = os.fstat(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            system.unlink(temporary)
        raise
    try:
        before()
        system.replace(temporary, path)
    except FileNotFoundError:
        # NFS repeats a rename whose answer was lost, and the repeated one finds nothing to rename.
        if not names(path, written):
            raise
    except OSError:
        with contextlib.suppress(OSError):
            system.unlink(temporary)
        raise


# Claims

CLAIM_S = 10.0
"""The claim of a process that died ends after this time, by the clock of the file system."""


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim something for the time of a ``with`` block, where no lock can be relied on.

    Yields whether this process has the claim. Two processes may have it if an old claim ends at that moment.

    Args:
        path: the file whose creation is the claim.
    """
    try:
        os.close(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        _end_old_claim(path)
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            system.unlink(path)


def _end_old_claim(path: Path) -> None:
    """Remove the claim of a process that died; only the next call of ``claimed`` can get it."""
    probe = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        age = age_s(now(probe), os.lstat(path).st_mtime)
        if age >= CLAIM_S:
            system.unlink(path)
    with contextlib.suppress(OSError):
        system.unlink(probe)


# Times


def touch(path: Path) -> None:
    """Create ``path``, or set its times to the present, by the clock of the file system."""
    with opened(path, os.O_WRONLY | os.O_CREAT) as descriptor:
        system.set_times(descriptor)


def now(path: Path) -> float:
    """The present time of the file system, in seconds since the epoch; it touches ``path`` to learn it."""
    touch(path)
    return os.stat(path).st_mtime


def age_s(now: float, then: float) -> float:
    """The age of something in seconds, between two times of its file system; negative if ``then`` is ahead.

    A time that is ahead by more than ``SKEW_S`` means that the clock was set back. The age is infinite then,
    so that nothing waits until the clock has caught up.
    """
    age = now - then
    return age if age >= -SKEW_S else math.inf
