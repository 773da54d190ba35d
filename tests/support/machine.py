"""A private machine with a real ``systemd --user``, a real journal and, if asked, a real logind.

It is this machine in namespaces of its own (processes, mounts, network, host name, control groups): its
programs and libraries are the real ones, but ``/tmp``, ``/run``, ``/home`` and whatever else a systemd
changes are empty and gone with it. A user without rights lives on it; `home` is theirs, outside and inside.

    with Machine(tmp_path) as machine:
        machine.log_in()
        machine.run(["systemctl", "--user", "status"])
        with Collector(machine.socket()) as collector: ...
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support import processes
from tests.support.machine_init import COVERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

USER_ID = 60010
SYSTEMD = "/lib/systemd/systemd"

_ROOT = Path(__file__).resolve().parents[2]
_INIT = Path(__file__).with_name("machine_init.py")
_NAMESPACES = "--cgroup --pid --fork --kill-child --mount --mount-proc --net --uts --ipc".split()
_PROGRAMS = "unshare nsenter mount umount ip setpriv systemctl journalctl".split()
_CONTROL_GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
_CLONE_NEWNET = 0x40000000  # os.CLONE_NEWNET of Python 3.12
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_JOURNALD = """[Journal]
Storage=persistent
ReadKMsg=no
Audit=no
RateLimitIntervalSec=0
"""


def why_not() -> str | None:
    """Say what keeps such a machine from being made here, if anything does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a private machine needs root on Linux"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    missing += [] if os.access(SYSTEMD, os.X_OK) else ["systemd"]
    if missing:
        return f"a private machine needs {', '.join(missing)}"
    if _control_groups() is None:
        return "a private machine needs control groups of version 2"
    return None


def _control_groups() -> Path | None:
    for place in _CONTROL_GROUPS:
        if (place / "cgroup.procs").exists() and os.access(place, os.W_OK):
            return place
    return None


class Machine:
    """Lives while its `with` block lasts.

    Args:
        directory: of the test; it is reachable inside at the same path.
        hostname: its name.
        user: who lives on it, without any rights.
        home: of that user, outside; by default below the directory. Inside it is `/home/<user>`.
        keep: further directories that are reachable inside at the same path.
        files: other contents of files, by their paths inside.
        user_namespaces: whether anybody may make one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hostname: str = "login1",
        user: str = "alice",
        home: Path | None = None,
        keep: Sequence[Path] = (),
        files: Mapping[str, str] | None = None,
        user_namespaces: bool = True,
    ) -> None:
        self.directory = directory
        self.hostname = hostname
        self.user = user
        self.home = home or directory / "homes" / user
        self.user_home = Path("/home") / user
        self._keep = keep
        self._files = dict(files or {})
        self._user_namespaces = user_namespaces
        self._closing = contextlib.ExitStack()
        self._logs = 0

    def __enter__(self) -> Self:
        """Make it; no user is logged in yet."""
        with contextlib.ExitStack() as stack:
            self._group = stack.enter_context(_control_group())
            self._make_home()
            self._init = self._start(stack)
            self._closing = stack.pop_all()
        self.start("journald", ["/lib/systemd/systemd-journald"])
        processes.wait_until(lambda: self.exists("/run/systemd/journal/stdout"), what="the journal")
        self._as_root(["journalctl", "--flush"])  # to where users have files of their own
        return self

    def __exit__(self, *_: object) -> None:
        """End every process on it."""
        self._closing.close()

    # What happens on it

    def log_in(self) -> None:
        """Start the user's manager, as a first session does."""
        runtime = f"/run/user/{USER_ID}"
        self._as_root(["install", "-d", "-m", "700", "-o", str(USER_ID), "-g", str(USER_ID), runtime])
        group = f"user.slice/user-{USER_ID}.slice/user@{USER_ID}.service"
        command = [SYSTEMD, "--user", "--log-target=journal"]
        self._manager = self.start("manager", command, user=self.user, group=group, env=self._bare())
        processes.wait_until(self._is_up, what="the user's manager")

    def log_out(self) -> None:
        """End the user's manager, as the end of the last session does without linger."""
        self.run(["systemctl", "--user", "exit"])
        self._manager.wait(processes.PATIENCE_S)

    def start_system(self) -> None:
        """Start the system's bus, polkit and logind."""
        self.start("dbus", ["dbus-daemon", "--system", "--nofork", "--nopidfile"])
        processes.wait_until(lambda: self.exists("/run/dbus/system_bus_socket"), what="the bus")
        self.start("polkit", ["/usr/lib/polkit-1/polkitd", "--no-debug"])
        self.start("logind", ["/lib/systemd/systemd-logind"])
        processes.wait_until(lambda: self.run(["loginctl", "list-users"]).returncode == 0, what="logind")

    def run(
        self,
        words: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        outer_network: bool = False,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the user, in a session of theirs, and read what it prints to the end.

        With `outer_network` it has the network of the machine that this one is a part of.
        """
        chosen = user or self.user
        done = subprocess.run(
            self._entering(
                words, chosen, f"user.slice/user-{USER_ID}.slice/session-1.scope", env, outer_network
            ),
            text=True,
            capture_output=True,
            check=False,
            **{"timeout": processes.PATIENCE_S, "stdin": subprocess.DEVNULL, **options},
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def python(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments as the user."""
        return self.run([sys.executable, *arguments], **options)

    def command(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `flwr-telemetry` with these arguments as the user."""
        return self.python("-P", "-m", "flwr_telemetryd.cli", *arguments, **options)

    def start(
        self,
        name: str,
        words: Sequence[str],
        *,
        user: str = "root",
        group: str = "init.scope",
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that is left alone; what it prints is in a file beside the test's."""
        self._logs += 1
        log = self.directory / f"{self.hostname}-{self._logs}-{name}.log"
        with log.open("wb") as out:
            child = subprocess.Popen(
                self._entering(words, user, group, env, outer_network=False),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._closing.callback(_end, child)
        return child

    def socket(self) -> socket.socket:
        """Give a socket that listens on 127.0.0.1 of the machine, whoever accepts from it."""
        made: list[socket.socket] = []

        def make() -> None:
            with open(f"/proc/{self._init}/ns/net", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    return
            made.append(socket.create_server(("127.0.0.1", 0), backlog=64))

        thread = threading.Thread(target=make)  # only a thread's network is changed, and this one ends
        thread.start()
        thread.join()
        return made[0]

    # What lies on it

    def exists(self, path: str) -> bool:
        """Tell whether something is at this path inside."""
        return os.path.lexists(self.inside(path))

    def inside(self, path: str | Path) -> Path:
        """Give the path by which something on the machine is reached from outside."""
        return Path(f"/proc/{self._init}/root{path}")

    def give(self, *paths: Path) -> None:
        """Make these, with all that is in them, the user's."""
        for path in paths:
            for found in (path, *path.rglob("*")):
                os.chown(found, USER_ID, USER_ID, follow_symlinks=False)

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Give properties of a unit of the user's."""
        told = self.run(["systemctl", "--user", "show", unit, f"--property={','.join(names)}"]).stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Give what `journalctl --user` shows to the user, entry by entry."""
        self._as_root(["journalctl", "--sync"])
        told = self.run(["journalctl", "--user", "--output=json", "--quiet", *arguments])
        return [json.loads(line) for line in told.stdout.splitlines()]

    # How it is made

    def _make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        os.chown(self.home, USER_ID, USER_ID)

    def _start(self, stack: contextlib.ExitStack) -> int:
        log = stack.enter_context((self.directory / f"{self.hostname}-init.log").open("w+b"))
        command = [*_joining(self._group), "unshare", *_NAMESPACES]
        if not self._user_namespaces:
            command = ["unshare", "--user", sys.executable, "-ISc", _AFTER_THE_MAP, *command]
        child = subprocess.Popen(
            [*command, sys.executable, "-IS", str(_INIT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        stack.callback(child.stdout.close)
        stack.callback(_end, child)
        stack.callback(child.stdin.close)
        if not self._user_namespaces:
            assert child.stdout.readline() == b"apart\n"
            for kind in ("uid", "gid"):
                Path(f"/proc/{child.pid}/{kind}_map").write_text("0 0 4294967295\n", encoding="ascii")
            child.stdin.write(b"\n")
        child.stdin.write(json.dumps(self._wanted()).encode() + b"\n")
        child.stdin.flush()
        told = child.stdout.readline()
        log.seek(0)
        assert told == b"ready\n", log.read().decode(errors="replace")
        (init,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text(encoding="ascii").split()
        return int(init)

    def _wanted(self) -> dict[str, Any]:
        kept = {
            os.path.abspath(path)
            for path in (sys.prefix, sys.base_prefix, _ROOT, self.directory, *self._keep)
        }
        closed = {place for path in kept if (place := _closed_above(path)) is not None}
        covered = sorted(place for place in closed if not _is_below(place, (*COVERED, *(closed - {place}))))
        binds = {path: path for path in kept if _is_below(path, (*COVERED, *covered))}
        inner = {path for path in binds if _is_below(path, set(binds) - {path})}
        return {
            "hostname": self.hostname,
            "user_namespaces": self._user_namespaces,
            "covered": covered,
            "binds": {path: binds[path] for path in binds if path not in inner}
            | {str(self.user_home): str(self.home)},
            "files": {
                "/etc/passwd": Path("/etc/passwd").read_text(encoding="utf-8")
                + f"{self.user}:x:{USER_ID}:{USER_ID}::{self.user_home}:/bin/sh\n",
                "/etc/group": Path("/etc/group").read_text(encoding="utf-8") + f"{self.user}:x:{USER_ID}:\n",
                "/etc/hostname": f"{self.hostname}\n",
                "/run/systemd/journald.conf.d/test.conf": _JOURNALD,
                **self._files,
            },
        }

    def _entering(
        self,
        words: Sequence[str],
        user: str,
        group: str,
        env: Mapping[str, str] | None,
        outer_network: bool,
    ) -> list[str]:
        user_id, home = (USER_ID, str(self.user_home)) if user == self.user else (0, "/run")
        chosen = self._environment(user_id, user, home) if env is None or user_id else {"PATH": _SYSTEM_PATH}
        variables = [f"{name}={value}" for name, value in {**chosen, **(env or {})}.items()]
        own_network = [] if outer_network else ["-n"]
        own_users = [] if self._user_namespaces else ["-U"]
        into = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-C", *own_network, *own_users]
        (self._group / group).mkdir(parents=True, exist_ok=True)
        for path in ("", "cgroup.procs", "cgroup.subtree_control"):
            os.chown(self._group / group / path, user_id, user_id)
        # What enters stays in the group of the first process: none but what is seen inside may be in others.
        rights = [f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"]
        session = ["setpriv", *rights, "env", "-i", f"--chdir={home}", *variables, *words]
        return [
            *_joining(self._group / "init.scope"),
            *into,
            *_joining(Path("/sys/fs/cgroup") / group),
            *session,
        ]

    def _environment(self, user_id: int, user: str, home: str) -> dict[str, str]:
        """What a session has."""
        programs = [os.path.join(prefix, "bin") for prefix in (sys.prefix, sys.base_prefix)]
        return {**self._bare(), "PATH": ":".join([*programs, _SYSTEM_PATH])}

    def _bare(self) -> dict[str, str]:
        return {
            "PATH": _SYSTEM_PATH,
            "HOME": str(self.user_home),
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{USER_ID}",
        }

    def _as_root(self, words: Sequence[str]) -> None:
        self.run(words, user="root", check=True)

    def _is_up(self) -> bool:
        assert self._manager.poll() is None, "the user's manager ended"
        told = self.run(["systemctl", "--user", "is-system-running"]).stdout.strip()
        return told in ("running", "degraded")


_AFTER_THE_MAP = """
import os, sys
os.write(1, b"apart\\n")
while os.read(0, 1) != b"\\n":
    pass
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""What a process in a user namespace of its own does until it is told that it is root there."""


def _joining(group: Path) -> list[str]:
    """Words before a command that put it into a control group."""
    return ["sh", "-c", 'echo 0 > "$0" && exec "$@"', str(group / "cgroup.procs")]


@contextlib.contextmanager
def _control_group() -> Iterator[Path]:
    """Make a control group for a machine, with what its parent hands on, and remove it in the end."""
    parent = _control_groups()
    assert parent is not None
    group = Path(tempfile.mkdtemp(prefix="flwr-telemetry-test-", dir=parent))
    group.chmod(0o755)
    (group / "init.scope").mkdir()
    try:
        yield group
    finally:
        for place, _, _ in os.walk(group, topdown=False):
            processes.wait_until(lambda place=place: _removed(place), what=f"the end of {place}")


def _removed(place: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        try:
            os.rmdir(place)
        except OSError:
            return False  # a process is about to end
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _is_below(path: str, directories: Sequence[str] | set[str]) -> bool:
    return any(path.startswith(f"{directory.rstrip('/')}/") for directory in directories)


def _closed_above(path: str) -> str | None:
    """The topmost directory above a path into which not everybody may go."""
    closed = [str(place) for place in Path(path).parents if not place.stat().st_mode & 0o001]
    return min(closed, key=len, default=None)
