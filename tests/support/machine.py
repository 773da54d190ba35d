"""A private machine with a real ``systemd --user``, a real journal and, if asked, a real logind.

It is this machine in namespaces of its own (processes, mounts, network, host name, control groups): its
programs and libraries are the real ones, but ``/tmp``, ``/run``, ``/home`` and whatever else a systemd
changes are empty and gone with it. A user without rights lives on it; `home` is theirs, outside and inside.

    with Machine(tmp_path) as machine:
        machine.log_in()
        machine.run(["systemctl", "--user", "status"])
        with Collector(machine.socket()) as collector: ...
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.support import processes
from tests.support.machine_making import control_groups, made, reachable

USER_ID = 60010
_SESSION = f"user.slice/user-{USER_ID}.slice/session-1.scope"
_MANAGER = f"user.slice/user-{USER_ID}.slice/user@{USER_ID}.service"
SYSTEMD = "/lib/systemd/systemd"
_JOURNALD = "/lib/systemd/systemd-journald"
_LOGIND = "/lib/systemd/systemd-logind"
_POLKIT = "/usr/lib/polkit-1/polkitd"

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = "unshare nsenter mount umount ip setpriv systemctl journalctl".split()
_CLONE_NEWNET = 0x40000000  # os.CLONE_NEWNET of Python 3.12
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_JOURNAL_SETTINGS = """[Journal]
Storage=persistent
ReadKMsg=no
Audit=no
RateLimitIntervalSec=0
"""


def why_not(*, system=False):
    """Say what keeps such a machine, or one with bus and logind, from being made here, if anything does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a private machine needs root on Linux"
    needed = [*_PROGRAMS, SYSTEMD, _JOURNALD, *(["dbus-daemon", _POLKIT, _LOGIND] if system else [])]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        return f"a private machine needs {', '.join(missing)}"
    if control_groups() is None:
        return "a private machine needs control groups of version 2"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else "a private machine needs namespaces, which are refused here"


class Machine:
    """A machine while its `with` block lasts, with one user, who has no rights.

    Args:
        directory: of the test; it is reachable inside at the same path.
        home: of the user, outside; by default below the directory. Inside it is `/home/<user>`.
        files: other contents of files, by their paths inside.
        user_namespaces: whether every user may make one.
        user_id: the number of the user; 0 is root, whose manager may do more and is refused other things.
    """

    def __init__(
        self,
        directory,
        *,
        hostname="login1",
        user="alice",
        user_id=USER_ID,
        home=None,
        files=None,
        user_namespaces=True,
    ):
        self.directory = directory
        self.hostname = hostname
        self.user = user
        self.user_id = user_id
        self.home = home or directory / "homes" / user
        self.user_home = Path("/home") / user
        self._files = dict(files or {})
        self._user_namespaces = user_namespaces
        self._closing = contextlib.ExitStack()
        self._children = []

    def __enter__(self):
        self._make_home()
        log = self.directory / f"{self.hostname}-init.log"
        with contextlib.ExitStack() as stack:
            stack.callback(self._take_leave)
            self._inside = stack.enter_context(made(log, self._wanted()))
            self._closing = stack.pop_all()
        self.start("journald", [_JOURNALD])
        processes.wait_until(lambda: self.exists("/run/systemd/journal/stdout"), what="the journal")
        self._as_root(["journalctl", "--flush"])  # to where users have files of their own
        return self

    def __exit__(self, *_):
        self._closing.close()

    # What happens on it

    def log_in(self):
        """Start the user's manager, as a first session does."""
        runtime = f"/run/user/{self.user_id}"
        self._as_root(
            ["install", "-d", "-m", "700", "-o", str(self.user_id), "-g", str(self.user_id), runtime]
        )
        command = [SYSTEMD, "--user", "--log-target=journal"]
        self._manager = self.start("manager", command, user=self.user, group=_MANAGER, env=self._bare())
        processes.wait_until(self._is_up, what="the user's manager")

    def log_out(self):
        """End the user's manager, as the end of the last session does without linger."""
        self.run(["systemctl", "--user", "exit"])
        self._manager.wait(processes.PATIENCE_S)

    def start_system(self):
        """Start the system's bus, polkit and logind."""
        self.start("dbus", ["dbus-daemon", "--system", "--nofork", "--nopidfile"])
        processes.wait_until(lambda: self.exists("/run/dbus/system_bus_socket"), what="the bus")
        self.start("polkit", [_POLKIT, "--no-debug"])
        self.start("logind", [_LOGIND])
        processes.wait_until(lambda: self.run(["loginctl", "list-users"]).returncode == 0, what="logind")

    def run(self, words, *, user=None, env=None, outer_network=False, check=False, **options):
        """Run a program as the user, in a session of theirs, and read what it prints to the end.

        With `outer_network` it has the network of the machine that this one is a part of.
        """
        chosen = user or self.user
        done = subprocess.run(
            self._entering(words, chosen, _SESSION, env, outer_network=outer_network),
            text=True,
            capture_output=True,
            check=False,
            **{"timeout": processes.PATIENCE_S, "stdin": subprocess.DEVNULL, **options},
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def python(self, *arguments, **options):
        return self.run([sys.executable, *arguments], **options)

    def command(self, *arguments, **options):
        return self.python("-P", "-m", "flwr_telemetryd.cli", *arguments, **options)

    def start(self, name, words, *, user="root", group="init.scope", env=None):
        """Start a program that is left alone; what it prints is in a file beside the test's."""
        log = self.directory / f"{self.hostname}-{len(self._children)}-{name}.log"
        with log.open("wb") as out:
            child = subprocess.Popen(
                self._entering(words, user, group, env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._children.append(child)
        return child

    def socket(self):
        """Give a socket that listens on 127.0.0.1 of the machine."""
        made = []

        def make():
            with open(f"/proc/{self._inside.init}/ns/net", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    return
            made.append(socket.create_server(("127.0.0.1", 0), backlog=64))

        thread = threading.Thread(target=make)  # only a thread's network is changed, and this one ends
        thread.start()
        thread.join()
        return made[0]

    def environment(self):
        programs = [os.path.join(prefix, "bin") for prefix in (sys.prefix, sys.base_prefix)]
        return {**self._bare(), "PATH": ":".join([*programs, _SYSTEM_PATH])}

    # What lies on it

    def exists(self, path):
        return os.path.lexists(self.inside(path))

    def inside(self, path):
        return Path(f"/proc/{self._inside.init}/root{path}")

    def give(self, *paths):
        """Make these, with all that is in them, the user's."""
        for path in paths:
            for found in (path, *path.rglob("*")):
                os.chown(found, self.user_id, self.user_id, follow_symlinks=False)

    def properties(self, unit, *names):
        told = self.run(["systemctl", "--user", "show", unit, f"--property={','.join(names)}"]).stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def journal(self, *arguments):
        self._as_root(["journalctl", "--sync"])
        told = self.run(["journalctl", "--user", "--output=json", "--quiet", *arguments])
        return [json.loads(line) for line in told.stdout.splitlines()]

    # How it is made and ended

    def _take_leave(self):
        """Wait for the processes that entered; their children are dead, and wait for them."""
        for child in self._children:
            child.wait(processes.PATIENCE_S)

    def _make_home(self):
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        os.chown(self.home, self.user_id, self.user_id)

    def _wanted(self):
        covered, kept = reachable([sys.prefix, sys.base_prefix, _ROOT, self.directory])
        return {
            "hostname": self.hostname,
            "user_namespaces": self._user_namespaces,
            "covered": covered,
            "binds": {**{path: path for path in kept}, str(self.user_home): str(self.home)},
            "files": {
                "/etc/passwd": self._account("/etc/passwd", f"{self.user_id}::{self.user_home}:/bin/sh"),
                "/etc/group": self._account("/etc/group", ""),
                "/etc/hostname": f"{self.hostname}\n",
                "/run/systemd/journald.conf.d/test.conf": _JOURNAL_SETTINGS,
                **self._files,
            },
        }

    def _account(self, path, rest):
        """The file with this user in it, before any of the same name or number."""
        known = Path(path).read_text(encoding="utf-8")
        return f"{self.user}:x:{self.user_id}:{rest}\n{known}"

    def _entering(self, words, user, group, env, *, outer_network=False):
        """The command that runs another one on the machine."""
        chosen, user_id, directory = {"PATH": _SYSTEM_PATH}, 0, "/run"
        if user == self.user:
            chosen = self.environment()
            user_id, directory = self.user_id, str(self.user_home)
        variables = [f"{name}={value}" for name, value in {**chosen, **(env or {})}.items()]
        whole = ["env", "-i", f"--chdir={directory}", *variables, *words]
        return self._inside.entering(whole, user_id, group, outer_network=outer_network)

    def _bare(self):
        return {
            "PATH": _SYSTEM_PATH,
            "HOME": str(self.user_home),
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{self.user_id}",
        }

    def _as_root(self, words):
        self.run(words, user="root", check=True)

    def _is_up(self):
        assert self._manager.poll() is None, "the user's manager ended"
        told = self.run(["systemctl", "--user", "is-system-running"]).stdout.strip()
        return told in ("running", "degraded")
