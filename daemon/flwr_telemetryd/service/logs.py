"""What the service said: in the journal, or, where that shows its user nothing, in the sidecar's own file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flwr_telemetry.layout import Home

from ..errors import ServiceError
from . import units
from .systemctl import Systemctl


@dataclass(frozen=True, slots=True)
class Log:
    """A program that shows it, with its arguments, and what it shows, in words."""

    command: list[str]
    words: str


def find(home: Home, environ: Mapping[str, str], *, lines: int, follow: bool) -> Log:
    """What shows the last lines.

    Raises:
        ServiceError: nothing was said yet, or not here.
    """
    manager = Systemctl(environ)
    said_by = (units.SERVICE, units.ONCE)
    if any(manager.last_words(unit, 1) for unit in said_by):
        more = ["--follow"] if follow else ["--no-pager"]
        chosen = [f"--unit={unit}" for unit in said_by]
        return Log(["journalctl", "--user", f"--lines={lines}", *chosen, *more], "the journal")
    path = home.host().log
    if not path.is_file():
        msg = f"the journal shows nothing of it, and there is no {path}: no sidecar has run on this host"
        raise ServiceError(msg)
    return Log(["tail", f"--lines={lines}", *(["-F"] if follow else []), str(path)], str(path))
