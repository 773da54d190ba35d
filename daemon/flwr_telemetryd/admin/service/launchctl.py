"""launchd, the service manager of macOS, asked through ``launchctl``, each time with a timeout."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from flwr_telemetry import system

from .agent import LABEL
from .programs import answer, complaint

_FACTS = re.compile(r"^\t(state|pid|last exit code) = (.*)$", re.MULTILINE)


class Job(NamedTuple):
    """The agent as launchd has loaded it."""

    state: str
    """Such as ``running`` or ``not running``."""
    pid: int | None
    exit_code: int | None
    """Of its last run; None if it has not ended yet."""


class Launchctl:
    """``launchctl`` for the domain of this user.

    Args:
        environ: this process's variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self.domain = ""
        """``gui/<uid>`` for a user at the screen, ``user/<uid>`` for one by ssh; empty without a session."""
        for name in ("gui", "user"):
            domain = f"{name}/{system.user_id()}"
            if not self.domain and self.is_here() and not self.run("print", domain):
                self.domain = domain

    @property
    def target(self) -> str:
        """The agent, as ``launchctl`` names it."""
        return f"{self.domain}/{LABEL}"

    def is_here(self) -> bool:
        """Whether the program exists."""
        return shutil.which("launchctl", path=self._environ.get("PATH")) is not None

    def run(self, *words: str) -> str:
        """Run a command; the error message, or an empty text after a success."""
        return complaint(["launchctl", *words], self._environ)

    def job(self) -> Job | None:
        """The loaded agent; None if it is not loaded, or nothing answers."""
        told = answer(["launchctl", "print", self.target], self._environ)
        found = dict(_FACTS.findall(told))
        if "state" not in found:
            return None
        return Job(found["state"], _number(found.get("pid")), _number(found.get("last exit code")))

    def agent_directory(self) -> Path:
        """The directory of the user's own agents."""
        return Path(self._environ.get("HOME") or os.path.expanduser("~")) / "Library/LaunchAgents"


def _number(text: str | None) -> int | None:
    found = re.match(r"\d+", text or "")
    return int(found[0]) if found else None
