"""How ``machine.py`` makes and enters a private machine: control group, namespaces, what stays reachable."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import processes
from tests.support.machine_init import COVERED

_INIT = Path(__file__).with_name("machine_init.py")
_NAMESPACES = "--cgroup --pid --fork --kill-child --mount --mount-proc --net --uts --ipc".split()
_CONTROL_GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
_INSIDE = Path("/sys/fs/cgroup")


def control_groups():
    """Give where control groups of version 2 can be made, if anywhere."""
    usable = (one for one in _CONTROL_GROUPS if (one / "cgroup.procs").exists() and os.access(one, os.W_OK))
    return next(usable, None)


@dataclass(frozen=True)
class Inside:
    """The way in: the control group, the first process, and whether the user namespace is its own."""

    group: Path
    init: int
    own_users: bool

    def entering(self, words, user_id, group, *, outer_network=False):
        place = self.group / group
        place.mkdir(parents=True, exist_ok=True)
        for path in (place, place / "cgroup.procs", place / "cgroup.subtree_control"):
            os.chown(path, user_id, user_id)
        into = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-C"]
        into += [] if outer_network else ["-n"]
        into += ["-U"] if self.own_users else []
        rights = ["setpriv", f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"]
        # What enters stays in the group of the first process: none but what is seen inside may be in others.
        outside = _joining(self.group / "init.scope")
        return [*outside, *into, *_joining(_INSIDE / group), *rights, *words]


def reachable(paths):
    """Give the directories to cover so that every user may reach these paths, and the paths to bind again."""
    kept = {os.path.abspath(path) for path in paths}
    closed = {place for path in kept if (place := _closed_above(path)) is not None}
    covered = sorted(place for place in closed if not _is_below(place, {*COVERED, *closed} - {place}))
    hidden = {path for path in kept if _is_below(path, {*COVERED, *covered})}
    return covered, sorted(path for path in hidden if not _is_below(path, hidden - {path}))


def _is_below(path, directories):
    return any(path.startswith(f"{directory.rstrip('/')}/") for directory in directories)


def _closed_above(path):
    """Give the topmost directory above a path that is closed to other users."""
    closed = [str(place) for place in Path(path).parents if not place.stat().st_mode & 0o001]
    return min(closed, key=len, default=None)


@contextlib.contextmanager
def made(log, wanted):
    """Make a machine, as ``machine_init`` is told to, and end every process on it in the end."""
    own_users = not wanted["user_namespaces"]
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(_control_group())
        command = [*_joining(group), "unshare", *_NAMESPACES, sys.executable, "-IS", str(_INIT)]
        if own_users:
            command = ["unshare", "--user", sys.executable, "-ISc", _AFTER_THE_MAP, *command]
        errors = stack.enter_context(log.open("w+b"))
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        stack.callback(child.stdout.close)
        stack.callback(_end, child)
        stack.callback(child.stdin.close)
        if own_users:
            assert child.stdout.readline() == b"apart\n"
            for kind in ("uid", "gid"):
                Path(f"/proc/{child.pid}/{kind}_map").write_text("0 0 4294967295\n", encoding="ascii")
            child.stdin.write(b"\n")
        child.stdin.write(json.dumps(wanted).encode() + b"\n")
        child.stdin.flush()
        told = child.stdout.readline()
        errors.seek(0)
        assert told == b"ready\n", errors.read().decode(errors="replace")
        (init,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text(encoding="ascii").split()
        yield Inside(group, int(init), own_users)


_AFTER_THE_MAP = """
import os, sys
os.write(1, b"apart\\n")
while os.read(0, 1) != b"\\n":
    pass
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Code of a process in a user namespace of its own, until the test has made it root there."""


def _joining(group):
    """Words before a command that put it into a control group."""
    return ["sh", "-c", 'echo 0 > "$0" && exec "$@"', str(group / "cgroup.procs")]


@contextlib.contextmanager
def _control_group():
    parent = control_groups()
    assert parent is not None
    group = Path(tempfile.mkdtemp(prefix="flwr-telemetry-test-", dir=parent))
    group.chmod(0o755)
    (group / "init.scope").mkdir()
    try:
        yield group
    finally:
        processes.wait_until(lambda: removed(group), what=f"the end of {group}")


def removed(group):
    """Remove a control group with those in it; whether it is gone."""
    for place, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # a process is about to end
            os.rmdir(place)
    return not group.exists()


def _end(child):
    """Wait until a machine has ended, whose input is closed; one that does not is killed."""
    try:
        child.wait(processes.PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
