"""Forked processes that die, or stop, before a system call that a test chooses (see `fate.py`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.zygote import Zygote

_LONGEST_S = 120.0  # an upper bound for what hangs
_PRELOADED = "import sys\nsys.path.insert(0, {!r})\nimport fate\nsys.path.pop(0)\nimport {}"


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
    assert answer["ended"], f"this fork did not end: {answer}"
    words, told = {"struck": "", "write": 0, "calls": 0}, []
    for word in map(json.loads, answer["stdout"].splitlines()):
        if "told" in word:
            told.append(word["told"])
        else:
            words |= word
    status, errors, meanwhile = answer["returncode"], answer["stderr"], _fork(answer["meanwhile"])
    return Fork(**words, told=told, status=status, errors=errors, meanwhile=meanwhile)


class Forks(Zygote):
    """Runs forks one after the other inside its `with` block; each has these modules imported."""

    def __init__(self, *modules):
        super().__init__(preload=_PRELOADED.format(str(Path(__file__).parent), ", ".join(modules)))

    def run(self, code, env, *, at=None, what="die", meanwhile=""):
        """Run this code, which may call `tell(told=…)`, in a process of its own.

        `what` happens to it just before call `at`; by default nothing does. While it is stopped, another
        fork runs the code `meanwhile`.
        """

        def order(code, at, what):
            whole = f"import fate\nfate.run({code!r}, {at!r}, {what!r})"
            return {"env": dict(env), "code": whole, "arguments": [], "timeout_s": _LONGEST_S}

        other = order(meanwhile, None, "die") if what == "pause" else None
        return _fork(self.ask({**order(code, at, what), "meanwhile": other}))
