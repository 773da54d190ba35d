"""Write ``enabled`` into the user's settings file, and leave the rest of it as the user wrote it.

The only writer of that file. This room must never lose a line that it did not write, and never leave a
moment without a file that says no where one was to say it: a new file is written whole, brought to the
disk, and put in place by one rename.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from flwr_telemetry import files, settings_file
from flwr_telemetry.errors import SettingsError
from flwr_telemetry.layout import Home

MALFORMED_SUFFIX = ".malformed"

_LINE = re.compile(rb"""^(\s*["']?enabled["']?\s*=\s*)(?:true|false)""", re.MULTILINE)


def write_enabled(home: Home, *, enabled: bool) -> None:
    """Set ``enabled``; every other line and comment stays, and a link to a file stays one.

    Raises:
        SettingsError: the file cannot be understood, or not be edited; it is left as it is.
        TelemetryError, OSError: it cannot be written.
    """
    _make_room(home)
    old = settings_file.content(home.config)
    new = _edited(home.config, old, enabled=enabled)
    if new != old:
        _put(Path(os.path.realpath(home.config)), new)


def write_no_alone(home: Home) -> Path:
    """Put a file that says no and nothing else in the place of one that nobody understands.

    Returns:
        Where the old one is kept.

    Raises:
        TelemetryError, OSError: that cannot be done; the old one, which is as good as a no, is there still.
    """
    _make_room(home)
    aside = _kept_aside(home.config)
    _put(home.config, b"enabled = false\n")
    return aside


def _make_room(home: Home) -> None:
    files.make_home(home.path)
    files.ensure_directory(home.telemetry)


def _put(path: Path, text: bytes) -> None:
    files.replace_bytes(path, text, durable=True, users_own=True)


def _kept_aside(path: Path) -> Path:
    """Give a file, or a link as it is, a second name that nothing has."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}{MALFORMED_SUFFIX}{f'-{number}' if number > 1 else ''}")
        try:
            if path.is_symlink():
                os.symlink(os.readlink(path), aside)
            else:
                os.link(path, aside)
        except FileExistsError:
            continue
        return aside
    raise AssertionError


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
