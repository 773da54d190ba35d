"""Writes a setting into the user's settings file, and keeps every other line as the user wrote it.

Nothing else writes that file. A new version is written whole, fsynced, and renamed into place, because an
opt-out must be readable at every moment. The system may refuse the new file: the disk has no space or no
inode left, or the directory cannot be changed. Then the old file is written over. Until that is done it is
malformed, which is off, too.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from pathlib import Path

from flwr_telemetry import files, settings_file, system
from flwr_telemetry.errors import SettingsError, SpoolUnsafeError, TelemetryError
from flwr_telemetry.layout import Home

MALFORMED_SUFFIX = ".malformed"
LINK_SUFFIX = ".link"
"""The suffixes of a settings file, or of a link to it, that an opt-out has replaced."""

Value = bool | float | str
"""A value that a setting can have."""


def write_enabled(home: Home, *, enabled: bool) -> None:
    """Set ``enabled`` as ``write`` does; an opt-out also where others can write to the directory."""
    if enabled:
        write(home, "enabled", value=True)
        return
    _make_directories(home)
    _write(home, "enabled", value=False)


def write(home: Home, name: str, *, value: Value) -> None:
    """Give a setting a value. Every other line and comment stays, and a link stays a link.

    Raises:
        SettingsError: the name or the value is not valid, or the file cannot be parsed or edited; it is left
            as it is.
        TelemetryError, OSError: the file cannot be written.
    """
    _make_directories(home)
    files.check_directory(home.telemetry)
    _write(home, name, value=value)


def _write(home: Home, name: str, *, value: Value) -> None:
    old, new = _versions(home, name, value=value)
    if new != old:
        _put(_target(home), new)


def write_opt_out(home: Home) -> Path | None:
    """Set ``enabled = false``, in whatever way the system allows.

    A file that cannot be parsed or edited is replaced, and so is a link whose target cannot be written.

    Returns:
        The path under which the old file or link is kept, if it was replaced.

    Raises:
        TelemetryError, OSError: the system refuses. A malformed file stays, and means off too.
    """
    try:
        write_enabled(home, enabled=False)
    except SettingsError:
        return _replace(home.config, b"enabled = false\n", MALFORMED_SUFFIX)
    except (OSError, TelemetryError):
        if not home.config.is_symlink():
            raise
        return _replace(home.config, _versions(home, "enabled", value=False)[1], LINK_SUFFIX)
    return None


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


def _versions(home: Home, name: str, *, value: Value) -> tuple[bytes, bytes]:
    """The settings file as it is, and as it shall be."""
    old = settings_file.content(home.config)
    return old, _edited(home.config, old, name, value)


def _put(path: Path, text: bytes) -> None:
    """Replace a file, or write over it; raises the error of the replacement."""
    try:
        files.replace_bytes(path, text, durable=True, any_owner=True)
    except (OSError, TelemetryError) as error:
        try:
            with files.opened(path, os.O_WRONLY, any_owner=True) as descriptor:
                files.write_all(descriptor, text)
                os.ftruncate(descriptor, len(text))
                system.fsync(descriptor)
        except (OSError, TelemetryError):
            raise error from None


def _replace(path: Path, text: bytes, suffix: str) -> Path:
    """Replace a file or a link itself, and keep the old one beside; the path of that."""
    kept = _keep(path, suffix)
    try:
        files.replace_bytes(path, text, durable=True, any_owner=True)
    except BaseException:
        with contextlib.suppress(OSError):
            kept.unlink()
        raise
    return kept


def _keep(path: Path, suffix: str) -> Path:
    """Give a file, or the link itself, a second name that is free."""
    for number in itertools.count(1):
        kept = path.with_name(f"{path.name}{suffix}{f'-{number}' if number > 1 else ''}")
        try:
            if path.is_symlink():
                os.symlink(os.readlink(path), kept)
            else:
                os.link(path, kept)
        except FileExistsError:
            continue
        return kept
    raise AssertionError


def _edited(path: Path, old: bytes, name: str, value: Value) -> bytes:
    """The file's text with the setting changed in its line, or added as the first line."""
    shown = json.dumps(value)  # as TOML writes it, too
    if (problem := settings_file.problem(name, value, plaintext=True)) is not None:
        raise SettingsError(problem)
    values = settings_file.parse(path, old)
    line = re.compile(
        rb"""^(\s*["']?%b["']?\s*=\s*)(?:"[^"\n]*"|'[^'\n]*'|[^\s#]+)""" % name.encode(), re.MULTILINE
    )
    new, found = line.subn(lambda match: match[1] + shown.encode(), old, count=1)
    if not found:
        new = f"{name} = {shown}\n".encode() + old
    if settings_file.parse(path, new) != {**values, name: value}:
        # For example a multi-line value, one line of which looks like the setting.
        msg = f"{path} cannot be edited automatically; set {name} = {shown} there by hand"
        raise SettingsError(msg)
    return new
