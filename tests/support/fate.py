"""Ends, tears or stops a forked process just before its n-th system call; forks of `dying.py` begin with it.

`die`     SIGKILL. Only calls are counted that may change what outlives the process: a file, a directory,
          a connection, another process. Death before a call that only reads, or whose effect ends with
          the process, leaves the same world as death before the next change.
`tear`    the same, but if the call is a write, the first half of it is written.
`pause`   SIGSTOP, until SIGCONT. Here calls that only read are counted as well, and so are locks, because
          another process may change meanwhile what was read.

A call that is not known to be harmless counts. The module needs the standard library alone.
"""

import builtins
import io
import json
import os
import signal
import sys

_WORDS = 1
"""The descriptor for words to the test: standard output."""

_open, _open_stream, _write = os.open, open, os.write

# What concerns this process alone, or the disk and not what processes see.
_PRIVATE = frozenset(
    "close pipe pipe2 umask putenv unsetenv setpriority register_at_fork fsync fdatasync getcwd uname times "
    "urandom getrandom getpid getppid geteuid getuid getegid getgid getgroups sysconf confstr cpu_count "
    "sched_getaffinity fspath isatty strerror get_inheritable set_inheritable get_terminal_size lseek "
    "_path_normpath waitpid waitstatus_to_exitcode WIFEXITED WIFSIGNALED WEXITSTATUS WTERMSIG "
    "WIFSTOPPED".split()
)
_LOOKS = frozenset("stat lstat fstat access scandir listdir read pread readlink flock".split())
_MODULES = frozenset({"posix", "_posixsubprocess", "fcntl"})
_SOCKET_CHANGES = frozenset("connect connect_ex send sendall sendto sendmsg shutdown close".split())
_STREAM_CHANGES = frozenset("write writelines flush truncate close".split())
_STREAMS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)
_CREATE = os.O_CREAT | os.O_TRUNC


def changes(function, seen):
    """Whether a call of this builtin may change what outlives the process."""
    if function is _open:
        return bool(seen.get("flags", _CREATE) & _CREATE)
    if function is _open_stream:
        return "r" not in seen.get("mode", "")
    if function.__module__ in _MODULES:
        return function.__name__ not in _PRIVATE | _LOOKS
    owner = getattr(function, "__self__", None)
    if isinstance(owner, _STREAMS):
        return function.__name__ in _STREAM_CHANGES and not owner.closed and owner.writable()
    return function.__name__ in _SOCKET_CHANGES and type(owner).__module__ in {"_socket", "socket"}


def looks(function):
    """Whether a call of this builtin may tell of what others do."""
    return function is _open or (function.__module__ in _MODULES and function.__name__ in _LOOKS)


def tell(**word):
    """Say something to the test."""
    _write(_WORDS, json.dumps(word).encode() + b"\n")


class Fate:
    """Counts the calls of this process, and strikes just before one of them.

    Args:
        at: the number of that call, from 0 on; None counts only.
        what: befalls the process there.
    """

    def __init__(self, at, what):
        self.calls = 0
        self._at, self._what = at, what

    def __call__(self, frame, kind, function):
        """See a call; what sys.setprofile calls."""
        if kind != "c_call":
            return
        seen = frame.f_locals if frame.f_code in _STAND_INS else {}
        if changes(function, seen) or (self._what == "pause" and looks(function)):
            if self.calls == self._at:
                self._strike(frame, function.__name__, seen)
            self.calls += 1

    def _strike(self, frame, name, seen):
        data = bytes(seen.get("data", b""))
        tell(struck=f"{name} {_where(frame)}", write=len(data))
        if self._what == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if self._what == "tear" and data:
            _write(seen["descriptor"], data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)


# Stand-ins for calls whose arguments matter: a profile function sees those of Python functions only.


def open_(path, flags, mode=0o777, *, dir_fd=None):
    return _open(path, flags, mode, dir_fd=dir_fd)


def open_stream(file, mode="r", *arguments, **options):
    return _open_stream(file, mode, *arguments, **options)


def write(descriptor, data):
    return _write(descriptor, data)


_STAND_INS = {open_.__code__, open_stream.__code__, write.__code__}


def _where(frame):
    """The line of our code, or else of any code, that made this call."""
    first = frame
    while frame is not None and "flwr_telemetry" not in frame.f_code.co_filename:
        frame = frame.f_back
    frame = frame or first
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame else ""


def run(code, at, what):
    """Run code, which may call `tell`, as a process that meets its fate."""
    os.open, builtins.open, os.write = open_, open_stream, write
    fate = Fate(at, what)
    compiled = compile(code, "<fork>", "exec")
    try:
        if at is not None:
            sys.setprofile(fate)
        exec(compiled, {"tell": tell})
    finally:
        sys.setprofile(None)
        tell(calls=fate.calls)
