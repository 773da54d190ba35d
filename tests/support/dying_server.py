"""A program that loads modules once, and then forks one process for every request.

A fork runs the code of its request. One of three things may happen just before its n-th system call:

`die`     SIGKILL. Only calls are counted that may change what outlives the process: a file, a directory,
          a connection, another process. Death before a call that only reads, or whose effect ends with
          the process, leaves the same world as death before the next change.
`tear`    the same, but if the call is a write, the first half of it is written.
`pause`   SIGSTOP; another fork runs from its beginning to its end, then SIGCONT. Here calls that only
          read are counted as well, and so are locks, because the other fork may change what was read.

A call that is not known to be harmless counts. Run by path, as `python -P dying_server.py <module> …`,
with a JSON line for each fork on standard input; the answers go to standard output. `dying.py` is the
other end.
"""

import builtins
import gc
import importlib
import io
import json
import os
import select
import signal
import sys
import tempfile
import traceback

LONGEST_FORK_S = 120.0  # an upper bound for what hangs
RAISED = 70  # the exit status of a fork whose code raised

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


class Fate:
    """Counts the calls of this process, and strikes just before one of them.

    Args:
        at: the number of that call, from 0 on; None counts only.
        what: befalls the process there.
        tell: takes word of it.
    """

    def __init__(self, at, what, tell):
        self.calls = 0
        self._at = at
        self._what = what
        self._tell = tell

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
        self._tell(struck=f"{name} {_where(frame)}", write=len(data))
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


def _fork(request, words, errors):
    """Run the request, in the forked child."""

    def tell(**word):
        _write(words, json.dumps(word).encode() + b"\n")

    status = RAISED
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard, descriptor in enumerate((nothing, nothing, errors.fileno())):
            os.dup2(descriptor, standard)
        os.environ.clear()
        os.environ.update(request["env"])
        os.open, builtins.open, os.write = open_, open_stream, write
        fate = Fate(request["at"], request["what"], tell)
        code = compile(request["code"], "<fork>", "exec")
        try:
            if request["at"] is not None:
                sys.setprofile(fate)
            exec(code, {"tell": tell})
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            sys.setprofile(None)
        tell(calls=fate.calls)
    except BaseException:  # noqa: BLE001 - the test has to see every kind
        _write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def run(request):
    """Fork, wait for the end, and give the result, with that of the fork that ran meanwhile, if any."""
    reader, writer = os.pipe()
    meanwhile = None
    with tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            _fork(request, writer, errors)
        os.close(writer)
        words = b""
        while True:
            if not select.select([reader], [], [], LONGEST_FORK_S)[0]:
                os.kill(pid, signal.SIGKILL)
                os.write(errors.fileno(), b"this fork did not end")
            # The pipe ends with the fork, because the processes that a fork starts do not inherit it.
            if not (data := os.read(reader, 65536)):
                break
            words += data
            if request["what"] == "pause" and meanwhile is None and b'"struck"' in words:
                assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
                meanwhile = run({**request, **request["meanwhile"], "at": None, "what": "die"})
                os.kill(pid, signal.SIGCONT)
        os.close(reader)
        _, status = os.waitpid(pid, 0)
        errors.seek(0)
        return {
            "words": [json.loads(line) for line in words.splitlines()],
            "status": os.waitstatus_to_exitcode(status),
            "errors": errors.read().decode(errors="replace"),
            "meanwhile": meanwhile,
        }


def main():
    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()  # so that a fork's garbage collections need not copy what all forks share
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
