"""The changes of an install or an uninstall of the service, and the way in which it writes a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import files

from .unit import read


@dataclass(slots=True)
class Changes:
    """The result of an install or an uninstall. Files are named relative to ``directory``."""

    directory: Path
    """The directory of the user's units, or of the agents."""

    unit: str = ""
    """The enabled unit; empty after an uninstall."""

    written: list[str] = field(default_factory=list)
    """Files that were written; empty if all were up to date."""

    removed: list[str] = field(default_factory=list)
    """Files that were removed."""

    kept: list[str] = field(default_factory=list)
    """One sentence for each file that should go, and was not removed."""

    complaint: str = ""
    """The error message of the service manager, if the unit could not be started."""


def write(path: Path, text: str) -> bool:
    """Write a unit by one rename; False if it has this text already."""
    if read(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_bytes(path, text.encode(), durable=True, any_owner=True)
    return True
