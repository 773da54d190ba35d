"""The functions that differ among operating systems. No other module asks which system this is.

The functions here are those of POSIX. On Windows, ``windows/`` replaces the ones that differ, at the end of
this module. The two writers of the spool are ``spool/posix.py`` and ``spool/windows.py``.

Functions of ``os`` are called, and not kept, because a program or a test may replace them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would cost every first event something
import contextlib
import errno
import math
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

with contextlib.suppress(ImportError):
    import fcntl  # first, because Windows has none of them
    import posix
    import pwd

# Not by `sys.platform`, which a test suite may change. Python's own `os` is chosen in the same way.
WINDOWS = "nt" in sys.builtin_module_names
LINUX = not WINDOWS and sys.platform == "linux"
MACOS = not WINDOWS and sys.platform == "darwin"
IS_SUPPORTED = "fcntl" in globals()
"""Whether the emitter can work here."""

RELOAD = 1
"""The signal SIGHUP, by its number, because importing ``signal`` takes time in every first event."""

# On Windows, mypy checks the names of `windows`, and reads no further here.
TYPE_CHECKING = False  # as in `flwr_telemetry/__init__.py`
if TYPE_CHECKING and sys.platform == "win32":
    from .windows import *  # noqa: F403
assert not TYPE_CHECKING or sys.platform != "win32"

SITE_FILE = "/etc/flwr/telemetry.toml"
"""The site's settings."""

# Open files

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# O_NONBLOCK, so that a FIFO in the place of a file does not block the caller.
SAFE_FLAGS = getattr(os, "O_CLOEXEC", 0) | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)

APPENDS_WHOLE = True
"""Whether two processes can append to one file without mixing their bytes."""

_STANDARD_ERROR = 2

OPEN_ANY = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""To open a file of any kind and owner, a FIFO too, without a wait for a writer."""


def open_descriptor(path: os.PathLike[str] | str, flags: int, mode: int = 0o777) -> int:
    """As ``os.open``, but never under the number of a standard stream.

    If a process has closed one of those, the next file that it opens takes the number. Then everything that
    the process prints would go into the file.
    """
    descriptor = os.open(path, flags, mode)
    if descriptor > _STANDARD_ERROR:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD_ERROR + 1)
    finally:
        os.close(descriptor)


def is_opened_with(descriptor: int, flags: int) -> bool:
    """Whether a descriptor may have been opened with these flags and ``SAFE_FLAGS``, ``O_CREAT`` apart."""
    wanted = flags | SAFE_FLAGS & ~getattr(os, "O_CLOEXEC", 0)
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError:
        return False
    return found & wanted == wanted and found & os.O_ACCMODE == flags & os.O_ACCMODE


def pread(descriptor: int, size_bytes: int, offset_bytes: int) -> bytes:
    """As ``os.pread``; on Windows the file's position moves."""
    return os.pread(descriptor, size_bytes, offset_bytes)


def pwrite(descriptor: int, data: bytes, offset_bytes: int) -> int:
    """As ``os.pwrite``; on Windows the file's position moves."""
    return os.pwrite(descriptor, data, offset_bytes)


def set_mode(descriptor: int, mode: int) -> None:
    """Set the mode of an open file; nothing where files have none. Raises an OSError if that is refused."""
    os.fchmod(descriptor, mode)


def set_times(descriptor: int, times_ns: tuple[int, int] | None = None) -> None:
    """Set the times of access and change of an open file, in ns since the epoch; the present by default."""
    os.utime(descriptor, ns=times_ns) if times_ns else os.utime(descriptor)


def fsync(descriptor: int) -> None:
    """Force an open file to the disk. The ordinary call of macOS leaves it in the cache of the disk."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with contextlib.suppress(OSError):  # a file system of another machine does not know it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def fsync_directory(path: os.PathLike[str] | str) -> None:
    """Force the names in a directory to the disk, where the system and the file system can do that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse it
            fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: os.PathLike[str] | str, target: os.PathLike[str] | str) -> None:
    """As ``os.replace``; on Windows it waits a moment for a process that has the target open."""
    os.replace(path, target)


def unlink(path: os.PathLike[str] | str) -> None:
    """As ``os.unlink``; on Windows it waits a moment for a process that has the file open."""
    os.unlink(path)


def link(path: os.PathLike[str] | str, target: os.PathLike[str] | str) -> None:
    """Give a file a name that must be free. On Windows the old name ends."""
    os.link(path, target)


SYNC_FLAGS = os.O_RDONLY
"""The access that ``os.fsync`` needs."""


def sync_file_system(directory: os.PathLike[str] | str) -> bool:
    """Force everything on the file system of a directory to the disk; False if that is not possible."""
    try:
        import ctypes

        sync = ctypes.CDLL(None, use_errno=True).syncfs
    # A service may not make memory executable, which ctypes needs in some builds: a MemoryError.
    except (ImportError, OSError, AttributeError, MemoryError):
        return False
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if sync(descriptor) == 0:
            return True
        number = ctypes.get_errno()
    finally:
        os.close(descriptor)
    if number in {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP}:
        return False
    raise OSError(number, os.strerror(number), str(directory))


def retry_busy_files() -> None:
    """From now on, let this process retry to rename or delete a file that another one has open.

    On POSIX nothing has to be done. The sidecar and the commands call it, and no training does.
    """


def is_null(descriptor: int) -> bool:
    """Whether an open file is the null device; raises an OSError if the descriptor is closed."""
    status = os.fstat(descriptor)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev


def is_full(place: os.PathLike[str] | str) -> bool:
    """Whether the file system of a directory has no room, or no inode, for this user."""
    disk = os.statvfs(place)
    return bool((disk.f_blocks and not disk.f_bavail) or (disk.f_files and not disk.f_favail))


def local_path(path: str) -> str:
    """The path of a ``file:`` URL, as this system writes it."""
    return path


# Segments

SEAL_FLAGS = os.O_RDWR
"""The access to an open segment that is sealed: NFS locks by it, where no table of mounts tells of it."""

SEALED_GROWS = True
"""Whether a writer that was stopped amid an event may append to a segment after that was taken."""


def may_be_taken(segment: os.PathLike[str] | str) -> bool:  # noqa: ARG001 - `windows/files.py` asks
    """Whether a sealed segment may be put into a batch now."""
    return True


def entry_status(entry: os.DirEntry[str]) -> os.stat_result:
    """The status of an entry of a directory, with its inode; never through a link."""
    return entry.stat(follow_symlinks=False)


# Owners


def is_own(status: os.stat_result) -> bool:
    """Whether a file belongs to the effective user."""
    return status.st_uid == os.geteuid()


def is_open_to_others(status: os.stat_result) -> bool:
    """Whether others than the owner may write to a file."""
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def is_private(status: os.stat_result) -> bool:
    """Whether nobody but the owner of a file may read it or write to it."""
    return not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def distrust(path: os.PathLike[str] | str) -> str:  # noqa: ARG001 - `windows/users.py` asks
    """Why somebody who is no administrator may have written the site's file; empty if nobody else can.

    On POSIX only root can write to ``/etc``.
    """
    return ""


def setting_of(name: str, value: str) -> str:
    """How a person sets a variable for all that this shell starts, with the line in quotes."""
    return f"`export {name}={value}`"


def lasting_setting_of(name: str, value: str) -> str:  # noqa: ARG001 - as in `windows/users.py`
    """How that is made permanent, as the end of a sentence."""
    return "in ~/.bashrc or ~/.profile the line lasts"


def user_id() -> str:
    """The number of the effective user."""
    return str(os.geteuid())


def account() -> tuple[str, str]:
    """Name and home directory of the effective user, by the user database; empty if it has no such entry."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except (KeyError, NameError):
        return "", ""
    return entry.pw_name, entry.pw_dir


def identity(login: str) -> tuple[set[str], set[str]]:
    """Names and directories that identify this user or this machine.

    Args:
        login: the user name in the variables; empty if there is none.
    """
    node = os.uname().nodename
    name, directory = account()
    with contextlib.suppress(KeyError, NameError):  # no such entry; no such database
        login = login or pwd.getpwuid(os.getuid()).pw_name
    names = {node, node.partition(".")[0], login, name}
    return names - {""}, {os.path.expanduser("~"), directory} - {""}


HOME_VARIABLE = "HOME"
"""The variable by which Flower finds the user's home directory."""


def user_home(environ: Mapping[str, str]) -> str:
    """The user's home directory, as Flower finds it; not absolute if it is unknown."""
    return environ.get("HOME") or os.path.expanduser("~")


def node_name() -> str:
    """The name of this machine."""
    node: object = None
    with contextlib.suppress(Exception):  # a test suite may have put anything in its place
        node = os.uname().nodename
    return node if isinstance(node, str) else posix.uname().nodename


# Locks

if IS_SUPPORTED:
    LOCK_SHARED = fcntl.LOCK_SH | fcntl.LOCK_NB
    _LOCK_EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB


def lock_shared(descriptor: int) -> None:
    """Take the lock of an open file, which others may share; raises an OSError if it is not free."""
    fcntl.flock(descriptor, LOCK_SHARED)


def lock_exclusive(descriptor: int) -> None:
    """Take the lock of an open file alone; raises an OSError if it is not free."""
    fcntl.flock(descriptor, _LOCK_EXCLUSIVE)


def unlock(descriptor: int) -> None:
    """Release a lock; raises an OSError if it cannot be released."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


# Processes

_NICE = 10
PASSED_ON: frozenset[str] = frozenset()
"""Variables without which no program starts here, or finds its user."""


def exists(pid: int) -> bool:
    """Whether this user has a process with this number, even a zombie; works without proc(5)."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    return True


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process; raises an OSError if that is refused."""
    os.kill(pid, number)


def process_facts(pid: int) -> tuple[str, int, int, str] | None:
    """State, parent, session and start of a process, from proc(5)'s ``stat``; None if that cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return fields[0], int(fields[1]), int(fields[3]), fields[19]
    except (OSError, LookupError, ValueError):  # a container may show an empty file, or none
        return None


def pid_namespace() -> str:
    """A text for the PID namespace of this process; raises an OSError if it is not known."""
    return os.readlink("/proc/self/ns/pid")


def deadly_size_bytes() -> float:
    """The size of a file beyond which a write kills this process (``ulimit -f``); infinite if none does.

    Python ignores that signal, and the write fails. A program that embeds Python may have left it as it was.
    """
    number = getattr(_signal, "SIGXFSZ", None)
    if number is None or _signal.getsignal(number) != _signal.SIG_DFL:
        return math.inf
    import resource  # hardly any program needs it

    limit_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return math.inf if limit_bytes == resource.RLIM_INFINITY else float(limit_bytes)


def lower_priority() -> None:
    """Leave a real-time class, and let others go first; raises an OSError if a container forbids it."""
    with contextlib.suppress(OSError):
        if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) in {os.SCHED_FIFO, os.SCHED_RR}:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # type: ignore[attr-defined,unused-ignore]
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))


if not TYPE_CHECKING and WINDOWS:
    from .windows import *  # noqa: F403 - each name that is different there
