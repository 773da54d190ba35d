"""Which units there are, and where they lie: as we ship them, and where the user's manager reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SERVICE = "flwr-telemetryd.service"
ONCE = "flwr-telemetryd-once.service"
TIMER = "flwr-telemetryd-once.timer"
NO_NAMESPACES = "no-namespaces.conf"

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "units", _PACKAGE.parents[1] / "systemd")
"""Of an installed package, and of a checkout."""

_DROP_IN = "50-flwr-telemetry-no-namespaces.conf"


def shipped(name: str) -> str:
    """The text of a unit as we ship it.

    Raises:
        FileNotFoundError: this installation lacks it.
    """
    for place in _PLACES:
        if (path := place / name).is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(2, "this installation lacks a file of its own", str(_PLACES[0] / name))


def directory(environ: Mapping[str, str], searched: str) -> Path:
    """Where the user's own units are.

    Args:
        environ: this process's variables.
        searched: where the manager looks, as it says itself; this process may have another XDG_CONFIG_HOME.
    """
    usual = Path(environ.get("HOME") or os.path.expanduser("~")) / ".config/systemd/user"
    if configured := environ.get("XDG_CONFIG_HOME"):
        chosen = Path(configured) / "systemd/user"
        if not searched or str(chosen) in searched:
            return chosen
    return usual


def drop_in(unit: str) -> str:
    """The name, below that directory, of what makes a unit do without namespaces."""
    return f"{unit}.d/{_DROP_IN}"


def all_files() -> tuple[str, ...]:
    """Whatever we ever write, by its name below that directory; units before what they start."""
    return (TIMER, SERVICE, ONCE, drop_in(SERVICE), drop_in(ONCE))
