"""A network file system with the traps of one: a server's directory, as a host that mounts it sees it.

Two mounts of one directory are two hosts of a shared home. It speaks the kernel's FUSE protocol by itself,
because the bindings tell files by their paths, while a network file system tells them by handles: a file that
another host replaced is another file, and what is open is the old one. Each mount has a process of its own::

    with netfs.mounted(server, tmp_path / "a", Traits(cache_s=1, stale="removed")) as mount: ...

The server's inode numbers are the handles, so that both hosts see the same ones.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import functools
import json
import math
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from dataclasses import dataclass

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Traits:
    """The differences from a local file system."""

    locks: str = (
        "working"  # across hosts; or `refused` (ENOLCK), `pretended` (no process is held off), `unanswered`
    )
    cache_s: float = 0.0  # for so long attributes, names, missing names and listings come from memory
    stale: str = ""  # a handle is stale (ESTALE) after its file was `removed`, or also `moved` elsewhere
    retransmit: int = 0  # every so many renames and removals are done, and answered by ENOENT
    skew_s: float = 0.0  # the server's clock is ahead of this host's
    close_errno: int = 0  # the answer to every third close of a file that was written to


def missing():
    """Why there can be no mount here; empty if there can."""
    if sys.platform != "linux" or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse"
    return "" if os.geteuid() == 0 else "a mount takes root"


@contextlib.contextmanager
def mounted(server, at, traits):
    """Mount the server's directory while the block lasts; processes that still use it then are cut off."""
    with served(server, at, traits):
        yield at


@contextlib.contextmanager
def served(server, at, traits):
    """As `mounted`; give the number of the server's process: while that is stopped, the server is away."""
    at.mkdir()
    words = [sys.executable, __file__, str(server), str(at), json.dumps(dataclasses.asdict(traits))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "mounted\n", process.stderr.read()
            yield process.pid
        finally:
            process.send_signal(signal.SIGCONT)
            subprocess.run(["umount", "--lazy", str(at)], check=False, capture_output=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            faults = process.stderr.read()
            assert not faults, faults


# The server's side: a process for each mount.

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_SETATTR = struct.Struct("<II6Q8I")
_RW = struct.Struct("<QQIIQII")
_LOCK = struct.Struct("<QQQQIIII")
_BUFFER_BYTES = 1 << 20
_ROOT = 1
_INVALID_INODE = 2
_MODE, _OWNER, _SIZE, _ATIME, _MTIME, _ATIME_NOW, _MTIME_NOW = 1, 6, 8, 16, 32, 128, 256
_BIG_WRITES, _FLOCK_LOCKS, _AUTO_INVAL_DATA = 1 << 5, 1 << 10, 1 << 12


@dataclass
class _Node:
    """A file that the kernel knows: where this host believes it is, and how often it was looked up."""

    descriptor: int
    parent: int
    name: bytes
    known: int = 0
    opened: int = 0
    silly: bool = False


class _Server:
    def __init__(self, server, traits, notify):
        self._traits = traits
        self._notify = notify
        self._nodes = {_ROOT: _Node(os.open(server, os.O_PATH | os.O_DIRECTORY), 0, b"")}
        self._open = {}  # a handle is a descriptor
        self._written = set()
        self._listings = {}
        self._changes = self._closes = self._sillies = 0

    def answer(self, opcode, node, data):
        """The answer to a request; None if it gets none."""
        if opcode in {2, 42, 36}:
            self._forget(opcode, node, data)
            return None
        do = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 9: self._mkdir, 10: self._unlink,
            11: self._rmdir, 12: self._rename, 13: self._link, 14: self._open_file, 15: self._read,
            16: self._write, 17: self._statfs, 18: self._release, 20: self._nothing, 25: self._flush,
            26: self._init, 27: self._opendir, 28: self._readdir, 29: self._nothing, 30: self._nothing,
            32: self._lock, 33: self._lock, 35: self._create, 38: self._nothing,
            45: functools.partial(self._rename, skip=16),
        }.get(opcode)  # fmt: skip
        if do is None:
            raise OSError(errno.ENOSYS, "")
        if opcode not in {18, 26, 38}:
            self._check(node)
        return do(node, data)

    # Handles

    def _check(self, number):
        """Raise ESTALE where the server does not know the handle any more."""
        if not self._traits.stale or number == _ROOT:
            return
        if number not in self._nodes or os.fstat(self._nodes[number].descriptor).st_nlink == 0:
            raise OSError(errno.ESTALE, "")
        if self._traits.stale != "moved":
            return
        while number != _ROOT:
            node = self._nodes[number]
            try:
                named = os.lstat(node.name, dir_fd=self._nodes[node.parent].descriptor).st_ino
            except (FileNotFoundError, KeyError):
                named = 0
            if named != number:
                raise OSError(errno.ESTALE, "")
            number = node.parent

    def _entry(self, parent, name):
        descriptor = os.open(
            name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._nodes[parent].descriptor
        )
        number = os.fstat(descriptor).st_ino
        node = self._nodes.get(number)
        if node is None:
            node = self._nodes[number] = _Node(descriptor, parent, name)
            self._listings.pop(number, None)  # of one that had the number before
        else:
            os.close(descriptor)
            node.parent, node.name = parent, name
        node.known += 1
        whole, part = self._valid()
        return struct.pack("<4Q2I", number, 0, whole, whole, part, part) + self._attributes(node.descriptor)

    def _look_again(self, node):
        """Have the kernel ask for the attributes: opening or locking a file shows the changes of others."""
        if self._traits.cache_s:
            self._notify(_INVALID_INODE, struct.pack("<Qqq", node, -1, 0))

    def _valid(self):
        return int(self._traits.cache_s), int(self._traits.cache_s % 1 * 1e9)

    def _attributes(self, descriptor):
        status = os.fstat(descriptor)
        skew_ns = int(self._traits.skew_s * 1e9)
        times = [
            divmod(time_ns + skew_ns, 10**9)
            for time_ns in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        ]
        return struct.pack(
            "<6Q10I", status.st_ino, status.st_size, status.st_blocks, *(whole for whole, _ in times),
            *(part for _, part in times), status.st_mode, status.st_nlink, status.st_uid, status.st_gid,
            status.st_rdev, 4096, 0,
        )  # fmt: skip

    def _forget(self, opcode, node, data):
        if opcode == 2:
            pairs = [(node, struct.unpack_from("<Q", data)[0])]
        elif opcode == 42:
            count = struct.unpack_from("<I", data)[0]
            pairs = [struct.unpack_from("<QQ", data, 8 + 16 * n) for n in range(count)]
        else:
            return
        for number, times in pairs:
            known = self._nodes.get(number)
            if known is not None and number != _ROOT:
                known.known -= times
                if known.known <= 0:
                    os.close(self._nodes.pop(number).descriptor)

    # Requests

    def _init(self, _node, _data):
        flags = _BIG_WRITES | _FLOCK_LOCKS | _AUTO_INVAL_DATA
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 1 << 17, flags, 16, 12, 1 << 17, 1, 0, 0, 0, *[0] * 7)

    def _nothing(self, _node, _data):
        return b""

    def _lookup(self, node, data):
        try:
            return self._entry(node, data[:-1])
        except FileNotFoundError:
            if not self._traits.cache_s:
                raise
            whole, part = self._valid()
            return struct.pack("<4Q2I", 0, 0, whole, 0, part, 0) + bytes(88)  # that it is missing is cached

    def _getattr(self, node, _data):
        whole, part = self._valid()
        return struct.pack("<QII", whole, part, 0) + self._attributes(self._nodes[node].descriptor)

    def _setattr(self, node, data):
        valid, _, _, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, *_ = _SETATTR.unpack_from(data)
        path = f"/proc/self/fd/{self._nodes[node].descriptor}"
        if valid & _MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & _SIZE:
            os.truncate(path, size)
        if valid & (_ATIME | _MTIME):
            skew_ns = int(self._traits.skew_s * 1e9)
            status, now = os.stat(path), time.time_ns()
            times = [status.st_atime_ns, status.st_mtime_ns]
            if valid & _ATIME:
                times[0] = now if valid & _ATIME_NOW else atime * 10**9 + atime_ns - skew_ns
            if valid & _MTIME:
                times[1] = now if valid & _MTIME_NOW else mtime * 10**9 + mtime_ns - skew_ns
            os.utime(path, ns=(times[0], times[1]))
        return self._getattr(node, b"")

    def _mkdir(self, node, data):
        mode, umask = struct.unpack_from("<II", data)
        os.mkdir(data[8:-1], mode & ~umask, dir_fd=self._changed(node))
        return self._entry(node, data[8:-1])

    def _rmdir(self, node, data):
        os.rmdir(data[:-1], dir_fd=self._changed(node))
        return self._done()

    def _unlink(self, node, data):
        name, directory = data[:-1], self._changed(node)
        if not self._make_silly(node, name):
            os.unlink(name, dir_fd=directory)
        return self._done()

    def _rename(self, node, data, skip=8):
        into = struct.unpack_from("<Q", data)[0]
        old, new, _ = data[skip:].split(b"\0")
        self._check(into)
        source, target = self._changed(node), self._changed(into)
        number = os.lstat(old, dir_fd=source).st_ino
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(new, dir_fd=target).st_ino != number:
                self._make_silly(into, new)
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
        if number in self._nodes:
            self._nodes[number].parent, self._nodes[number].name = into, new
        return self._done()

    def _link(self, node, data):
        old = self._nodes[struct.unpack_from("<Q", data)[0]]
        os.link(
            f"/proc/self/fd/{old.descriptor}", data[8:-1], dst_dir_fd=self._changed(node),
            follow_symlinks=True,
        )  # fmt: skip
        return self._entry(node, data[8:-1])

    def _changed(self, node):
        """The descriptor of a directory in which this host changes a name."""
        self._listings.pop(node, None)
        return self._nodes[node].descriptor

    def _done(self):
        self._changes += 1
        if self._traits.retransmit and self._changes % self._traits.retransmit == 0:
            raise OSError(errno.ENOENT, "")  # the answer was lost, and the request was sent again
        return b""

    def _make_silly(self, parent, name):
        """Rename a file that is open here to `.nfs…` until it is closed; whether it was open."""
        directory = self._nodes[parent].descriptor
        number = os.lstat(name, dir_fd=directory).st_ino
        node = self._nodes.get(number)
        if node is None or not node.opened:
            return False
        if node.silly:
            raise OSError(errno.EBUSY, "")
        self._sillies += 1
        silly = b".nfs%016x%08x" % (number, self._sillies)
        os.rename(name, silly, src_dir_fd=directory, dst_dir_fd=directory)
        node.parent, node.name, node.silly = parent, silly, True
        return True

    # Open files

    def _open_file(self, node, data):
        flags = struct.unpack_from("<I", data)[0]
        kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_TRUNC)
        descriptor = os.open(f"/proc/self/fd/{self._nodes[node].descriptor}", kept | os.O_CLOEXEC)
        return self._opened(node, descriptor)

    def _opened(self, node, descriptor):
        self._look_again(node)
        self._open[descriptor] = node
        self._nodes[node].opened += 1
        return struct.pack("<QII", descriptor, 0, 0)

    def _create(self, node, data):
        flags, mode, umask = struct.unpack_from("<III", data)
        name = data[16:-1]
        kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_EXCL) | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(name, kept, mode & ~umask, dir_fd=self._changed(node))
        entry = self._entry(node, name)
        return entry + self._opened(os.fstat(descriptor).st_ino, descriptor)

    def _read(self, _node, data):
        handle, offset, size, *_ = _RW.unpack_from(data)
        return os.pread(handle, size, offset)

    def _write(self, _node, data):
        handle, offset, size, *_ = _RW.unpack_from(data)
        self._written.add(handle)
        return struct.pack("<II", os.pwrite(handle, data[_RW.size : _RW.size + size], offset), 0)

    def _flush(self, _node, data):
        handle = struct.unpack_from("<Q", data)[0]
        if self._traits.close_errno and handle in self._written:
            self._closes += 1
            if self._closes % 3 == 0:
                raise OSError(self._traits.close_errno, "")
        return b""

    def _release(self, _node, data):
        handle = struct.unpack_from("<Q", data)[0]
        number = self._open.pop(handle)
        self._written.discard(handle)
        os.close(handle)
        node = self._nodes[number]
        node.opened -= 1
        if node.silly and not node.opened:
            with contextlib.suppress(OSError, KeyError):
                os.unlink(node.name, dir_fd=self._changed(node.parent))
        return b""

    def _lock(self, node, data):
        handle, _, _, _, kind, *_ = _LOCK.unpack_from(data)
        if self._traits.locks == "unanswered":
            return None
        if self._traits.locks == "refused":
            raise OSError(errno.ENOLCK, "")
        if self._traits.locks == "working":
            fcntl.flock(handle, [fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN][kind] | fcntl.LOCK_NB)
            self._look_again(node)
        return b""

    # Directories

    def _opendir(self, node, _data):
        at, _ = self._listings.get(node, (-math.inf, []))
        if time.monotonic() - at >= self._traits.cache_s:
            descriptor = os.open(
                f"/proc/self/fd/{self._nodes[node].descriptor}", os.O_RDONLY | os.O_DIRECTORY
            )
            try:
                names = [os.fsencode(name) for name in os.listdir(descriptor)]
            finally:
                os.close(descriptor)
            self._listings[node] = time.monotonic(), names
        return struct.pack("<QII", 0, 0, 0)

    def _readdir(self, node, data):
        _, offset, size, *_ = _RW.unpack_from(data)
        if node not in self._listings:
            self._opendir(node, b"")
        found = b""
        for number, name in enumerate(self._listings[node][1][offset:], offset + 1):
            entry = struct.pack("<QQII", number + 1, number, len(name), 0) + name
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def _statfs(self, _node, _data):
        return struct.pack("<5Q10I", 1 << 30, 1 << 29, 1 << 29, 1 << 20, 1 << 19, 4096, 255, 4096, *[0] * 7)


def main(server, at, traits):
    kernel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={kernel},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 2 | 4  # nosuid, nodev
    if libc.mount(b"netfs", at.encode(), b"fuse.netfs", flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), at)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.stdout.write("mounted\n")
    sys.stdout.flush()

    def say(number, unique, reply):
        with contextlib.suppress(FileNotFoundError):  # the caller was interrupted, or the kernel forgot it
            os.write(kernel, _OUT.pack(_OUT.size + len(reply), number, unique) + reply)

    served = _Server(server, Traits(**traits), lambda code, told: say(code, 0, told))
    while True:
        try:
            request = os.read(kernel, _BUFFER_BYTES)
        except OSError as error:
            if error.errno in {errno.EINTR, errno.ENOENT, errno.EAGAIN}:
                continue
            return  # ENODEV: unmounted
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        number, reply = 0, b""
        try:
            said = served.answer(opcode, node, request[_IN.size :])
        except OSError as error:
            number = error.errno or errno.EIO
        else:
            if said is None:
                continue
            reply = said
        say(-number, unique, reply)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
