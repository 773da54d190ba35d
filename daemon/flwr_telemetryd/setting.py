"""Write ``enabled`` into the user's settings file, and leave the rest of it as the user wrote it.

The only writer of that file. This room must never lose a line that it did not write, and never let a file
be seen that is half written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from flwr_telemetry import files, settings_file
from flwr_telemetry.errors import SettingsError
from flwr_telemetry.layout import Home

MALFORMED_SUFFIX = ".malformed"

_LINE = re.compile(rb"""^(\s*["']?enabled["']?\s*=\s*)(?:true|false)""", re.MULTILINE)


def write_enabled(home: Home, *, enabled: bool) -> None:
    """Set ``enabled``; every other line and comment stays.

    Raises:
        SettingsError: the file cannot be understood; it is left as it is.
        TelemetryError, OSError: it cannot be written.
    """
    files.make_home(home.path)
    files.ensure_directory(home.telemetry)
    old = settings_file.content(home.config)
    new = _edited(home.config, old, enabled=enabled)
    if new != old:
        files.replace_bytes(home.config, new, durable=True, users_own=True)


def set_malformed_aside(home: Home) -> Path | None:
    """Move a settings file that cannot be understood out of the way, so that a no can be written.

    Returns:
        Where it is now; None if the file can be understood, or there is none.
    """
    try:
        settings_file.read(home.config)
    except SettingsError:
        aside = home.config.with_name(home.config.name + MALFORMED_SUFFIX)
        os.rename(home.config, aside)
        return aside
    return None


def _edited(path: Path, old: bytes, *, enabled: bool) -> bytes:
    """The text with the setting in it, in its place or else in the first line."""
    word = b"true" if enabled else b"false"
    values = settings_file.parse(path, old)
    new, found = _LINE.subn(rb"\1" + word, old, count=1)
    if not found:
        new = b"enabled = " + word + b"\n" + old
    if settings_file.parse(path, new) != {**values, "enabled": enabled}:
        # Such as a value of several lines, one of which looks like the setting.
        msg = f"{path} is written in a way that cannot be edited; set enabled = {word.decode()} there by hand"
        raise SettingsError(msg)
    return new
