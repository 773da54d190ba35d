"""What is there already: the text of a unit, whether we may change it, and what runs. It only looks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from flwr_telemetry.layout import Home
from flwr_telemetry.version import __version__

from ..errors import ServiceError
from ..state import State
from .render import noted
from .seal import Author, author


def read(path: Path) -> str | None:
    """The text of a unit; None if there is none, and an empty text for what is no plain file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_ours(path: Path) -> None:
    """Refuse to write over what somebody else wrote or edited.

    Raises:
        ServiceError: it is not as we wrote it.
    """
    who = author(read(path))
    if who not in {Author.WE, Author.NOBODY}:
        word = (
            "was edited since it was written" if who is Author.EDITED else "was not written by this command"
        )
        msg = (
            f"{path} {word}, and is left as it is; move it away and install again, and put your own settings "
            f"beside it by `systemctl --user edit {path.name}`"
        )
        raise ServiceError(msg)


def check_serves(path: Path, home: Home) -> None:
    """There is one unit of a name: what serves one home is not taken away for another without a word.

    Raises:
        ServiceError: it serves another home.
    """
    served = noted(read(path) or "").get("home")
    if served is not None and not is_same(served, home):
        msg = (
            f"{path} serves {served}, and a user has one service; `flwr-telemetry service uninstall` ends "
            f"that, then install again. What is in {home.path} is delivered without a service, too"
        )
        raise ServiceError(msg)


def is_same(served: str, home: Home) -> bool:
    """Whether the home that a unit names is this one, by whatever name."""
    return os.path.realpath(served) == os.path.realpath(home.path)


def former_version(home: Home, pid: str) -> str | None:
    """The version that a running service was started from, if it is not that of now; else None.

    Args:
        home: which it serves.
        pid: of its main process, in digits. What another process left says nothing of it.
    """
    state = State.load(home.host())
    return state.version if str(state.pid) == pid and state.version != __version__ else None
