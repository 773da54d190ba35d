"""The user's manager and logind, asked by their own programs.

Whoever came by `su` has no XDG_RUNTIME_DIR; if the user has a manager all the same, it is found.
This room must never wait without an end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

if sys.platform != "win32":
    import pwd

UP = ("running", "degraded", "starting", "initializing", "maintenance")

_ASK_S = 5.0
_DO_S = 90.0
_LINGER = Path("/var/lib/systemd/linger")


class Systemctl:
    """`systemctl --user`.

    Args:
        environ: this process's variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        runtime = f"/run/user/{os.geteuid()}"
        if not environ.get("XDG_RUNTIME_DIR") and os.path.exists(f"{runtime}/systemd/private"):
            self.environ["XDG_RUNTIME_DIR"] = runtime

    def is_here(self) -> bool:
        """Whether the program is."""
        return shutil.which("systemctl", path=self.environ.get("PATH")) is not None

    def state(self) -> str:
        """That of the manager: one of ``UP``, or another word, or none."""
        return ask(["systemctl", "--user", "is-system-running"], self.environ)

    def do(self, *words: str, **more: str) -> str:
        """Have something done; what the program complained of, or nothing if it was done.

        Args:
            words: the command and the units.
            more: further variables.
        """
        command = ["systemctl", "--user", *words]
        done = _run(command, {**self.environ, **more}, _DO_S)
        if done is None:
            return f"`{' '.join(command)}` does not end"
        return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or "it failed"

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, or of the manager for an empty name; those that are told."""
        words = ["systemctl", "--user", "show", *filter(None, [unit]), f"--property={','.join(names)}"]
        told = ask(words, self.environ)
        return {
            name: value for name, found, value in (line.partition("=") for line in told.splitlines()) if found
        }

    def last_words(self, unit: str, count: int) -> list[str]:
        """The last lines of a unit, and of the manager about it, in the journal, if that is ours to read."""
        words = ["journalctl", "--user", "--quiet", "--no-pager", "--output=cat", f"--lines={count}"]
        return ask([*words, f"--unit={unit}"], self.environ).splitlines()


def lingers(environ: Mapping[str, str]) -> bool:
    """Whether this user's manager outlives the last session."""
    told = ask(["loginctl", "show-user", str(os.geteuid()), "--property=Linger", "--value"], environ)
    if told:
        return told == "yes"
    try:  # logind tells nothing of users that are not logged in
        return (_LINGER / pwd.getpwuid(os.geteuid()).pw_name).exists()
    except KeyError:
        return False


def ask(command: list[str], environ: Mapping[str, str]) -> str:
    """What a program answers, whatever its exit code; empty if it does not."""
    done = _run(command, environ, _ASK_S)
    return "" if done is None else done.stdout.decode(errors="replace").strip()


def _run(
    command: list[str], environ: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603 - commands of our own
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
