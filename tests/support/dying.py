"""Lives that die, or are stopped, between two system calls of the test's choice (`dying_server.py`)."""

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
class Life:
    """The course of a life."""

    struck: str
    """Before which call, and where in the code; empty if the end of the life came first."""
    write: int
    """The size of the write before which that was; 0 if it was none."""
    calls: int
    """How many of its calls count; known only of a life that had a point and came to its end."""
    told: list[Any]
    status: int
    errors: str
    meanwhile: Life | None
    """The life that was lived while this one was stopped."""


def _life(answer):
    if answer is None:
        return None
    words = {}
    for word in answer["words"]:
        words.update(word)
    return Life(
        words.get("struck", ""),
        words.get("write", 0),
        words.get("calls", 0),
        [word["told"] for word in answer["words"] if "told" in word],
        answer["status"],
        answer["errors"],
        _life(answer["meanwhile"]),
    )


class Lives:
    """Lives one life after the other while its `with` block lasts; each has these modules imported."""

    def __init__(self, *modules):
        # Without a home of its own, so that no test's clean-up takes it for a process of a home.
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

    def live(self, code, env, *, at=None, what="die", meanwhile=""):
        """Run this code, which may call `tell(told=…)`, in a process of its own.

        `what` befalls it just before call `at`; by default nothing does. While it is stopped, another life
        runs the code `meanwhile`.
        """
        request = {"code": code, "env": dict(env), "at": at, "what": what, "meanwhile": {"code": meanwhile}}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        life = _life(json.loads(self._server.stdout.readline()))
        assert life is not None
        return life
