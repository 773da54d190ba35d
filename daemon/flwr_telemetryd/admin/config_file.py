"""Writes ``enabled`` into the user's settings file, and keeps every other line as the user wrote it.

Nothing else writes that file. A new version is written whole, fsynced, and renamed into place, because an
opt-out must be readable at every moment.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from flwr_telemetry import files, settings_file
from flwr_telemetry.errors import SettingsError, SpoolUnsafeError
from flwr_telemetry.layout import Home

MALFORMED_SUFFIX = ".malformed"

_LINE = re.compile(rb"""^(\s*["']?enabled["']?\s*=\s*)(?:true|false)""", re.MULTILINE)


def write_enabled(home: Home, *, enabled: bool) -> None:
    """Set ``enabled``. Every other line and comment stays, and a link stays a link.

    Raises:
        SettingsError: the file cannot be parsed or edited; it is left as it is.
        TelemetryError, OSError: the file cannot be written.
    """
    _make_directories(home)
    if enabled:
        files.check_directory(home.telemetry)
    old = settings_file.content(home.config)
    new = _edited(home.config, old, enabled=enabled)
    if new != old:
        _put(_target(home), new)


def replace_by_opt_out(home: Home) -> Path:
    """Replace a settings file that cannot be parsed by one that holds the opt-out alone.

    Returns:
        The path under which the old file is kept.

    Raises:
        TelemetryError, OSError: the system refuses. The old file stays, and a malformed file means off too.
    """
    _make_directories(home)
    kept = _keep(home.config)
    _put(home.config, b"enabled = false\n")
    return kept


def _make_directories(home: Home) -> None:
    """Make the directories of the settings, also where others can write: an opt-out is kept even there."""
    files.make_home(home.path)
    files.make_home(home.telemetry)


def _target(home: Home) -> Path:
    """The file to write: that behind a link, unless the link may be another user's."""
    try:
        files.check_directory(home.telemetry)
    except SpoolUnsafeError:
        return home.config
    return Path(os.path.realpath(home.config))


def _put(path: Path, text: bytes) -> None:
    files.replace_bytes(path, text, durable=True, any_owner=True)


def _keep(path: Path) -> Path:
    """Give a file, or the link itself, a second name that is free."""
    for number in itertools.count(1):
        kept = path.with_name(f"{path.name}{MALFORMED_SUFFIX}{f'-{number}' if number > 1 else ''}")
        try:
            if path.is_symlink():
                os.symlink(os.readlink(path), kept)
            else:
                os.link(path, kept)
        except FileExistsError:
            continue
        return kept
    raise AssertionError


def _edited(path: Path, old: bytes, *, enabled: bool) -> bytes:
    """The file's text with the setting changed in its line, or added as the first line."""
    value = b"true" if enabled else b"false"
    values = settings_file.parse(path, old)
    new, found = _LINE.subn(rb"\1" + value, old, count=1)
    if not found:
        new = b"enabled = " + value + b"\n" + old
    if settings_file.parse(path, new) != {**values, "enabled": enabled}:
        # For example a multi-line value, one line of which looks like the setting.
        msg = f"{path} cannot be edited automatically; set enabled = {value.decode()} there by hand"
        raise SettingsError(msg)
    return new
