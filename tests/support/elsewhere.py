"""Makes an interpreter on Linux like one on another POSIX system, such as macOS, for processes of tests.

What only Linux has is hidden from this project: proc(5), the mark of F_SETSIG, O_TMPFILE, inotify, syncfs,
abstract sockets and the rest of `_LINUX_ONLY`. `system` says that this is a Mac. The sidecar that such a
process starts does not see them either. psutil still sees Linux.

This proves that our own code runs without these, and takes the branches for macOS. It does not prove that
macOS does what those branches expect: of its locks, its renames, its clock and its disks. Only a Mac can.

The file is run by its text, before the modules of this project are imported: see `PRELUDE`.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import os
import posix
import select
import socket
import sys
import time
from importlib.machinery import PathFinder

PRELUDE = f"exec(compile(open({__file__!r}).read(), {__file__!r}, 'exec'), {{'__file__': {__file__!r}}})\n"
"""The first line of the code of a process that is to run elsewhere."""

_RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
_LINUX_ONLY = {
    fcntl: "F_SETSIG F_GETSIG",
    os: "O_TMPFILE posix_fadvise sched_getscheduler sched_setscheduler sched_getaffinity pidfd_open eventfd",
    posix: "sched_getscheduler sched_setscheduler",
    select: "epoll",
    socket: "SO_PEERCRED",
    time: "CLOCK_BOOTTIME",
}


def _without_proc(function):
    def hidden(path, *arguments, **options):
        is_text = not isinstance(path, int) and os.fsdecode(os.fspath(path)).startswith("/proc")
        caller = sys._getframe(1).f_globals.get("__name__") or ""
        if is_text and not caller.startswith("psutil"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *arguments, **options)

    return hidden


class _Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name.startswith(("inotify", "syncfs")):
            raise AttributeError(name)
        return super().__getattr__(name)


class _Switch:
    """Changes two modules of ours when they have been loaded."""

    @staticmethod
    def find_spec(name, path=None, _target=None):
        change = {"flwr_telemetry.system": _as_mac, "flwr_telemetry.spawn": _with_sidecars}.get(name)
        if change is None:
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (load(module), change(module))
        return spec


def _as_mac(system):
    system.LINUX, system.MACOS = False, True


def _with_sidecars(spawn):
    real = spawn.sidecar

    def sidecar(*arguments):
        found = real(*arguments)
        rest = len(found.interpreter)
        found.command[rest:] = ["-c", PRELUDE + _RUN, *found.command[rest:]]
        return found

    spawn.sidecar = sidecar


def _hide():
    for module, names in _LINUX_ONLY.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for module, names in {
        builtins: "open",
        io: "open",
        os: "open readlink listdir scandir stat lstat",
    }.items():
        for name in names.split():
            setattr(module, name, _without_proc(getattr(module, name)))
    ctypes.CDLL = _Library
    sys.meta_path.insert(0, _Switch)


if __name__ != "tests.support.elsewhere":
    _hide()
