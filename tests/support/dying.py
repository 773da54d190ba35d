"""Lives that die, or are stopped, between two system calls of the test's choice (`dying_server.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER = Path(__file__).with_name("dying_server.py")

What = Literal["die", "tear", "pause"]


@dataclass(frozen=True)
class Life:
    """What came of a life.

    Attributes:
        struck: before which call, and where in the code; empty if its end came first.
        write: the size of the write before which that was; 0 if it was none.
        calls: how many calls it made that count; known only of one that was given a point and came to
            its end.
        told: what it told, in order.
        status: its exit status.
        errors: its standard error.
        meanwhile: the life that was lived while this one was stopped.
    """

    struck: str
    write: int
    calls: int
    told: list[Any]
    status: int
    errors: str
    meanwhile: Life | None


def _life(answer: dict[str, Any] | None) -> Life | None:
    if answer is None:
        return None
    words: dict[str, Any] = {}
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
    """Lives as many lives as are asked for, one after the other, while its `with` block lasts.

    Args:
        modules: what every life has imported already.
    """

    def __init__(self, *modules: str) -> None:
        # Without a home of its own, so that no test's clean-up takes it for a process of a home.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FLWR_"))}
        self._server = subprocess.Popen(
            [sys.executable, "-P", SERVER, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the server end."""
        self._server.communicate()
        assert self._server.returncode == 0

    def live(
        self,
        code: str,
        env: Mapping[str, str],
        *,
        at: int | None = None,
        what: What = "die",
        meanwhile: str = "",
    ) -> Life:
        """Run this code, which may call `tell(told=…)`, in a process of its own.

        Args:
            code: what it does.
            env: its environment, whole.
            at: just before which of its calls it is struck; by default never.
            what: befalls it there.
            meanwhile: what another life does while this one is stopped.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"code": code, "env": dict(env), "at": at, "what": what, "meanwhile": {"code": meanwhile}}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        life = _life(json.loads(self._server.stdout.readline()))
        assert life is not None
        return life
