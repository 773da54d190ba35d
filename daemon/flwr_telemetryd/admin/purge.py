"""``flwr-telemetry purge``: remove everything that this package has ever written for a user.

    telemetry/     settings, the opt-out in them, the archive, and all that waits
    source         the source ID, which Flower shares
    units          the service of this home
    completion     the files that ``--install-completion`` wrote, and the line in ``~/.bashrc`` that loads one

A sidecar that runs is ended first. Files that a user named stay: that of ``url = "file:///…"``, and the
offset beside a file that was relayed.

This module never sends, and never works in a home that belongs to another user.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import files, source
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.layout import Home

from ..clock import Clock
from ..errors import SidecarError, attempt, describe
from ..outbox import purge
from . import switch
from .service import install

_COMPLETION = (
    ".bash_completions/flwr-telemetry.sh",
    ".zfunc/_flwr-telemetry",
    ".config/fish/completions/flwr-telemetry.fish",
)
_OF_COMPLETION = b"_FLWR_TELEMETRY_COMPLETE"
_MAX_BYTES = 1024 * 1024


@dataclass(slots=True)
class Removed:
    """The result of a purge."""

    removed: list[str] = field(default_factory=list)
    """The paths of the files and directories that are gone."""

    kept: list[str] = field(default_factory=list)
    """One sentence for each thing that could not be removed."""


def everything(home: Home, environ: Mapping[str, str], clock: Clock) -> Removed:
    """Remove it all.

    Raises:
        UnusableHomeError: the home belongs to another user. Nothing is removed then.
    """
    switch.check_owner(home)
    result = Removed()
    _service(home, environ, result)
    if os.path.lexists(home.telemetry):
        with contextlib.suppress(OSError, TelemetryError):  # what matters of it is told below
            switch.disable(home, clock)  # ends the sidecars
        _note(result, home.telemetry, purge.whole(home))
    for path in _sources(home):
        _note(result, path, attempt(path, os.unlink))
    user_home = Path(environ.get("HOME") or os.path.expanduser("~"))
    for name in _COMPLETION:
        _completion(user_home, user_home / name, result)
    with contextlib.suppress(OSError):  # Flower may have files of its own there
        home.path.rmdir()
        result.removed.append(str(home.path))
    return result


def _note(result: Removed, path: Path, problems: list[str]) -> None:
    result.kept += problems
    if not problems:
        result.removed.append(str(path))


def _service(home: Home, environ: Mapping[str, str], result: Removed) -> None:
    """Uninstall the service, if it serves this home."""
    try:
        if install.serves(home, environ):
            changes = install.uninstall(environ)
            result.removed += [str(changes.directory / name) for name in changes.removed]
            result.kept += changes.kept
    except (OSError, TelemetryError, SidecarError) as error:
        result.kept.append(describe(error, None))


def _sources(home: Home) -> Iterator[Path]:
    """The source file, and those of processes that died while they made it."""
    if os.path.lexists(home.source):
        yield home.source
    for name in files.entry_names(home.path):
        if name.startswith("source.") and source.is_uuid(name.removeprefix("source.")):
            yield home.path / name


def _completion(user_home: Path, path: Path, result: Removed) -> None:
    """Remove a completion file, and the line that loads it: a shell would complain of a missing file."""
    try:
        if _OF_COMPLETION not in files.read_bytes(path, _MAX_BYTES, any_owner=True):
            return
        rc = Path(os.path.realpath(user_home / ".bashrc"))
        if path.suffix == ".sh" and rc.is_file():
            old = rc.read_bytes()
            line = rb"^source '?" + re.escape(os.fsencode(path)) + rb"'?\n?"  # typer 0.9 did not quote it
            new = re.sub(line, b"", old, flags=re.MULTILINE)
            if new != old:
                mode = rc.stat().st_mode & 0o777
                files.replace_bytes(rc, new, durable=True, any_owner=True)
                rc.chmod(mode)
    except FileNotFoundError:
        return
    except (OSError, TelemetryError) as error:
        result.kept.append(describe(error, path))
        return
    _note(result, path, attempt(path, os.unlink))
