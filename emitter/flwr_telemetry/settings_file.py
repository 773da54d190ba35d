"""One settings file: TOML, the same keys for the site's and the user's. Read and checked here.

What cannot be understood is refused whole, an unknown name and a value of the wrong type included: a
misspelt ``enabled`` must not pass for a yes. This room must never decide anything.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from . import files
from .emit import load
from .errors import SettingsError, SpoolUnsafeError

SIDECAR_CHOICES = ("auto", "always", "never")

_MAX_FILE_BYTES = 64 * 1024
_MAX_DOTS = 500
"""A name of some thousand parts takes the parser a minute."""

_MOST = 1e9
"""No number is larger: what waits for longer than thirty years overflows some library."""


class Limits(NamedTuple):
    """The numbers of design section 6, under their names there; fractions and 0 are allowed.

    Attributes:
        burst_window_s: from the first event of a quiet spool to its seal.
        idle_exit_s: an on-demand sidecar with nothing left ends after this.
        offline_exit_s: an on-demand sidecar that cannot deliver ends after this.
        respawn_s: no second start within this time, whoever asks.
        connect_timeout_s: to open a connection to the collector.
        request_deadline_s: a whole request, body and answer.
        backoff_s: the first wait after a failure, doubled with each further one.
        backoff_max_s: the longest of these waits.
        spool_max_mib: spool and outbox together, per home.
        spool_max_days: the age at which what was not sent is dropped.
        sent_max_mib: the archive of what was sent; also ``rejected/`` and ``damaged/``, each.
        sent_max_days: the same, by age.
        adopt_after_s: another host's spool that has not grown for so long is adopted; None stands for
            the default, 120, or 30 in a service.
        bursts: coalesce events into bursts.
    """

    burst_window_s: float = 5
    idle_exit_s: float = 60
    offline_exit_s: float = 600
    respawn_s: float = 10
    connect_timeout_s: float = 5
    request_deadline_s: float = 30
    backoff_s: float = 1
    backoff_max_s: float = 900
    spool_max_mib: float = 64
    spool_max_days: float = 14
    sent_max_mib: float = 16
    sent_max_days: float = 30
    adopt_after_s: float | None = None
    bursts: bool = True


def read(path: Path) -> dict[str, Any]:
    """The settings in a file; none if there is no file.

    Raises:
        SettingsError: it cannot be read or understood; the message names the file and, where known, the line.
    """
    return parse(path, content(path))


def content(path: Path) -> bytes:
    """The bytes of a file, as far as a settings file may be long; none if there is no file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return files.read_bytes(path, _MAX_FILE_BYTES + 1, users_own=True)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except SpoolUnsafeError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise SettingsError(msg) from error


def parse(path: Path, raw: bytes) -> dict[str, Any]:
    """The settings in the bytes of a file; ``path`` is what an error calls it.

    Raises:
        SettingsError: they cannot be understood.
    """
    if len(raw) > _MAX_FILE_BYTES:
        msg = f"{path} is larger than {_MAX_FILE_BYTES} bytes"
        raise SettingsError(msg)
    if not raw:
        return {}
    if raw.count(b".") > _MAX_DOTS:
        msg = f"{path} holds more than {_MAX_DOTS} dots; settings have plain names"
        raise SettingsError(msg)
    try:
        values: dict[str, Any] = load("tomllib").loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        line = found[1] if found else len(raw.splitlines()) or 1
        msg = f"{path}, line {line}, is no valid TOML: {error}"
        raise SettingsError(msg) from error
    for name, value in values.items():
        if (problem := _problem(name, value)) is not None:
            msg = f"{where(path, name, raw)}: {problem}"
            raise SettingsError(msg)
    return values


def _problem(name: str, value: object) -> str | None:
    """What is wrong with one setting, or None."""
    if name in {"enabled", "bursts"}:
        return None if isinstance(value, bool) else f"{name} must be true or false"
    if name == "sidecar":
        return None if value in SIDECAR_CHOICES else f"sidecar must be one of {', '.join(SIDECAR_CHOICES)}"
    if name == "url":
        return url_problem(value)
    if name in {"proxy", "ca_bundle"}:
        return None if isinstance(value, str) and value else f"{name} must be a non-empty string"
    if name in Limits._fields:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if number and 0 <= value <= _MOST else f"{name} must be a number from 0 to {_MOST:.0e}"  # type: ignore[operator]
    return f"there is no setting called {name if name.isprintable() else ascii(name)}"


def url_problem(value: object) -> str | None:
    """Why ``value`` may not be where events go, or None if it may."""
    if not isinstance(value, str):
        return "url must be a string"
    advice = "url must be https://…, http:// to a loopback address, or file:///…"
    try:
        parts = load("urllib.parse").urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return advice
    if parts.username is not None or parts.password is not None:
        return "url must not hold a user name or a password"
    if parts.scheme == "file":
        absolute = parts.netloc == "" and parts.path.startswith("/") and not parts.path.endswith("/")
        absolute = absolute and "%00" not in parts.path
        return None if absolute else advice
    if parts.scheme == "https":
        return None if host else advice
    if parts.scheme == "http":
        if host == "localhost":
            return None
        try:
            return None if load("ipaddress").ip_address(host).is_loopback else advice
        except ValueError:
            return advice
    return advice


def where(path: Path, name: str, raw: bytes | None = None) -> str:
    """``path, line N`` of a setting."""
    try:
        known = files.read_bytes(path, _MAX_FILE_BYTES, users_own=True) if raw is None else raw
    except (OSError, SpoolUnsafeError):
        return str(path)
    for number, line in enumerate(known.decode("utf-8", "replace").splitlines(), start=1):
        if re.match(rf"\s*[\[\"']*{re.escape(name)}\b", line):
            return f"{path}, line {number}"
    return str(path)
