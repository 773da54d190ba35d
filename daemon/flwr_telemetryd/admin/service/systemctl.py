"""The user's systemd manager and logind, asked through their own programs, each with a timeout."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from flwr_telemetry import system

from .programs import answer, complaint

UP = ("running", "degraded", "starting", "initializing", "maintenance")
"""States of a manager that answers."""

_LINGER = Path("/var/lib/systemd/linger")


class Systemctl:
    """``systemctl --user``.

    `su` does not set XDG_RUNTIME_DIR. If the user has a manager nevertheless, its directory is filled in.

    Args:
        environ: this process's variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        runtime = f"/run/user/{system.user_id()}"
        if not environ.get("XDG_RUNTIME_DIR") and os.path.exists(f"{runtime}/systemd/private"):
            self.environ["XDG_RUNTIME_DIR"] = runtime

    def is_here(self) -> bool:
        """Whether the program ``systemctl`` exists."""
        return shutil.which("systemctl", path=self.environ.get("PATH")) is not None

    def state(self) -> str:
        """The state of the manager: one of ``UP``, another word of systemd, or empty."""
        return answer(["systemctl", "--user", "is-system-running"], self.environ)

    def run(self, *words: str, **variables: str) -> str:
        """Run a command that changes something; the error message, or an empty text after a success.

        Args:
            words: the command and the units.
            variables: added to the environment.
        """
        return complaint(["systemctl", "--user", *words], {**self.environ, **variables})

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, or of the manager if ``unit`` is empty; unknown ones are left out."""
        words = ["systemctl", "--user", "show", *filter(None, [unit]), f"--property={','.join(names)}"]
        pairs = (line.partition("=") for line in answer(words, self.environ).splitlines())
        return {name: value for name, found, value in pairs if found}

    def unit_directory(self) -> Path:
        """The directory of the user's own units.

        The manager may have another XDG_CONFIG_HOME than this process, so it is asked where it searches.
        """
        usual = Path(self.environ.get("HOME") or os.path.expanduser("~")) / ".config/systemd/user"
        if configured := self.environ.get("XDG_CONFIG_HOME"):
            chosen = Path(configured) / "systemd/user"
            searched = self.show("", "UnitPath").get("UnitPath")
            if not searched or str(chosen) in searched:
                return chosen
        return usual

    def runtime_directory(self) -> Path:
        """The directory of units that are gone after the last session."""
        runtime = self.environ.get("XDG_RUNTIME_DIR")
        return Path(runtime) / "systemd/user" if runtime else self.unit_directory()

    def exposure(self, unit: str) -> float | None:
        """The rating of ``systemd-analyze security``, from 0 to 10; None if it gives none."""
        environ = {**self.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
        told = answer(["systemd-analyze", "--user", "--no-pager", "security", unit], environ)
        found = re.search(r"Overall exposure level for .*: ([\d.]+)", told)
        return float(found[1]) if found else None

    def journal(self, unit: str, lines: int) -> list[str]:
        """The last lines about a unit in the journal; empty if this user may not read it."""
        words = ["journalctl", "--user", "--quiet", "--no-pager", "--output=cat", f"--lines={lines}"]
        return answer([*words, f"--unit={unit}"], self.environ).splitlines()


def lingers(environ: Mapping[str, str]) -> bool:
    """Whether this user's manager goes on after the last session."""
    told = answer(["loginctl", "show-user", system.user_id(), "--property=Linger", "--value"], environ)
    if told:
        return told == "yes"
    name, _ = system.account()  # logind answers nothing about a user without a session
    return bool(name) and (_LINGER / name).exists()
