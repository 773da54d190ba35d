"""The Flower of this environment: its release, and whether its events go through the spool.

A Flower is adopted if its telemetry module imports this package. So it is if this package's hook is in every
Python process of the environment: by a ``sitecustomize``, or by ``flwr-telemetry run``. A Flower that is not
adopted reports by itself. It obeys ``FLWR_TELEMETRY_ENABLED``, and neither a settings file nor
``DO_NOT_TRACK``.

This module never imports Flower, and never starts a process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from flwr_telemetry import flower, system
from flwr_telemetry.switch import SWITCH, plain_flower_reports

_MODULES = ("supercore/telemetry.py", "common/telemetry.py")
_OURS = "flwr_telemetry"

STOP = system.setting_of(SWITCH, "0")
"""The shell line that stops each Flower, adopted or not, of the same shell."""


@dataclass(frozen=True, slots=True)
class FlowerView:
    """The Flower that a Python process of this environment would import."""

    version: str | None
    """Its release; None if there is none."""

    adopted: bool
    """Whether its events go through the spool."""

    found: str
    """One sentence: the release, and whether it is adopted."""

    advice: str
    """How to stop what telemetry's setting does not reach, or how to adopt it; empty if nothing is to do."""

    reports: bool
    """Whether Flower reports by itself although telemetry is off."""


def read_flower(environ: Mapping[str, str], *, enabled: bool) -> FlowerView:
    """Tell about the Flower of this interpreter.

    Args:
        environ: this process's variables.
        enabled: whether telemetry is on.
    """
    version = _version()
    adopted = version is not None and (flower.is_installed() or _imports_us())
    reports = not adopted and not enabled and plain_flower_reports(environ)
    named = f"Flower {version} in this environment" if version else "Flower in this environment: none"
    advice = f"{STOP} stops that; {system.lasting_setting_of(SWITCH, '0')}" if reports else ""
    if adopted:
        found = f"{named}: adopted"
    elif version is None:
        found = f"{named}; one elsewhere reports by itself unless `flwr-telemetry run` starts it"
    elif enabled:
        found = f"{named}: not adopted; it reports by itself unless `flwr-telemetry run` starts it"
        advice = "start Flower by `flwr-telemetry run -- COMMAND`"
    elif reports:
        found = f"{named}: not adopted; started without `flwr-telemetry run`, it still reports by itself"
    else:
        found = f"{named}: not adopted; {SWITCH} switches it off, too"
    return FlowerView(version, adopted, found, advice, reports)


def _version() -> str | None:
    try:
        return metadata.version("flwr")
    except metadata.PackageNotFoundError:
        return None


def _imports_us() -> bool:
    """Whether the telemetry module of the installed Flower imports this package."""
    try:
        spec = importlib.util.find_spec("flwr")
    except (ImportError, ValueError):
        return False
    for directory in (spec and spec.submodule_search_locations) or ():
        for name in _MODULES:
            try:
                return _OURS in Path(directory, name).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
    return False
