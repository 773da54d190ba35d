"""The first process of a private machine (``machine.py``): makes it, says so, and reaps what is left to it.

It is executed inside fresh namespaces with what is wanted as JSON in the first line of its standard input,
prints "ready", and ends, which ends the machine, when that input ends. Standard library alone, and every
step is checked: a systemd that finds the real ``/tmp`` or ``/run`` empties it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

STAGING = "/mnt"
COVERED = ("/tmp", "/run", "/var/tmp", "/dev/shm", "/home", "/var/log", "/var/lib/systemd")

_MADE_AT_BOOT = (
    "/run/systemd/system",
    "/run/systemd/unit-root",  # where services get their own view of the files
    "/run/systemd/mount-rootfs",
    "/run/user",
    "/run/dbus",
    "/var/log/journal",
    "/var/lib/systemd/linger",
)


def main():
    wanted = json.loads(sys.stdin.readline())
    if wanted["user_namespaces"] is False:
        Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")
    _mounts(wanted)
    _call("hostname", wanted["hostname"])
    _call("ip", "link", "set", "lo", "up")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_input, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # As long as there is no child that could end, a signal is all that is waited for.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait({signal.SIGCHLD})


def _mounts(wanted):
    _call("mount", "--make-rprivate", "/")
    _call("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    Path("/sys/fs/cgroup/init.scope/cgroup.procs").write_text("0", encoding="ascii")
    # What is to stay reachable is put aside, its surroundings are covered, then it is put where it belongs.
    _tmpfs(STAGING)
    binds = wanted["binds"]
    aside = {}
    for number, (target, source) in enumerate(sorted(binds.items())):
        aside[target] = f"{STAGING}/{number}"
        _like(source, aside[target])
        _call("mount", "--rbind", source, aside[target])
    for path in (*COVERED, *wanted["covered"]):
        _tmpfs(path)
    for path in ("/tmp", "/var/tmp", "/dev/shm"):
        os.chmod(path, 0o1777)
    for target, place in aside.items():
        _like(place, target)
        _call("mount", "--move", place, target)
    _call("umount", STAGING)
    for path, text in wanted["files"].items():
        _file(path, text)
    for path in _MADE_AT_BOOT:
        os.makedirs(path, exist_ok=True)


def _file(path, text):
    """Give a file another content, if it is on a file system of the real machine by a mount over it."""
    if path.startswith(COVERED):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
        return
    cover = f"/run/covers/{path.replace('/', '_')}"
    os.makedirs("/run/covers", exist_ok=True)
    Path(cover).write_text(text, encoding="utf-8")
    _call("mount", "--bind", cover, path)


def _like(source, target):
    """Make what can be mounted on: a directory, or a file."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()


def _tmpfs(path):
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
    found = subprocess.run(["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True)
    if found.stdout.strip() != "tmpfs" or os.listdir(path):
        message = f"{path} is not covered"
        raise OSError(message)


def _call(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _end_with_input():
    while sys.stdin.read(1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
