"""Forked processes that die, or stop, before a system call that a test chooses (see `dying_server.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SERVER = Path(__file__).with_name("dying_server.py")

What = Literal["die", "tear", "pause"]


@dataclass(frozen=True)
class Fork:
    """The result of one forked process."""

    struck: str
    """The call before which it was struck, and its place in the code; empty if the fork ended before that."""
    write: int
    """The size of that call's write, in bytes; 0 if the call was no write."""
    calls: int
    """The number of its calls that count; known only of a fork that had a point and reached its end."""
    told: list[Any]
    status: int
    errors: str
    meanwhile: Fork | None
    """The fork that ran while this one was stopped."""


def _fork(answer):
    if answer is None:
        return None
    words = {}
    for word in answer["words"]:
        words.update(word)
    return Fork(
        words.get("struck", ""),
        words.get("write", 0),
        words.get("calls", 0),
        [word["told"] for word in answer["words"] if "told" in word],
        answer["status"],
        answer["errors"],
        _fork(answer["meanwhile"]),
    )


class Forks:
    """Runs forks one after the other inside its `with` block; each has these modules imported."""

    def __init__(self, *modules):
        # It has no home, because a test's clean-up ends the processes of the test's home.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLWR_"))}
        self._server = subprocess.Popen(
            [sys.executable, "-P", SERVER, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.communicate()
        assert self._server.returncode == 0

    def run(self, code, env, *, at=None, what="die", meanwhile=""):
        """Run this code, which may call `tell(told=…)`, in a process of its own.

        `what` happens to it just before call `at`; by default nothing does. While it is stopped, another
        fork runs the code `meanwhile`.
        """
        request = {"code": code, "env": dict(env), "at": at, "what": what, "meanwhile": {"code": meanwhile}}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        fork = _fork(json.loads(self._server.stdout.readline()))
        assert fork is not None
        return fork
