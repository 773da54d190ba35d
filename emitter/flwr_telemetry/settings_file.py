"""Reads and checks one settings file in TOML; the site's and the user's have the same keys.

A file with any error is refused as a whole, also with an unknown name or a value of the wrong type. Otherwise
a misspelt ``enabled = false`` would leave telemetry on. This module decides nothing.
"""

import os
import re
from pathlib import Path
from types import ModuleType

from . import files
from .errors import SettingsError, SpoolUnsafeError
from .imports import undisturbed
from .named import Any, NamedTuple

SIDECAR_CHOICES = ("auto", "always", "never")
CHOICES: dict[str, tuple[str, ...]] = {
    "sidecar": SIDECAR_CHOICES,
    "format": ("flower", "otlp"),
    "compression": ("gzip", "none"),
}

_MAX_FILE_BYTES = 64 * 1024
_MAX_DOTS = 500
"""A file with more dots is refused: the parser takes a minute for a name of some thousand parts."""

# Compiled at their use, because a first event does not use them.
_CONTACT = r"[^\s@:/?&<>]+@[^\s@:/?&<>]+|https://[^\s/?#<>]+[^\s<>]*"
_PROXY = r"://|:[0-9]+/?$"

_MARK = b"\xef\xbb\xbf"
_MAX_DIGITS = 19
_TRIES = 3
_LARGEST = 1e9
"""The largest number; a wait of more than thirty years overflows some library."""


class Limits(NamedTuple):
    """The numbers among the settings; fractions and 0 are allowed."""

    burst_window_s: float = 5
    """The time from the first event in an empty spool to the seal of its segment."""
    idle_exit_s: float = 60
    """An on-demand sidecar exits after this time without events."""
    offline_exit_s: float = 600
    """An on-demand sidecar exits after this time without a delivery."""
    respawn_s: float = 10
    """The least time between two starts of a sidecar."""
    connect_timeout_s: float = 5
    """The longest time to open a connection to the collector."""
    request_deadline_s: float = 30
    """The longest time for a whole request and its answer."""
    backoff_s: float = 1
    """The wait after a failure; each further failure doubles it."""
    backoff_max_s: float = 900
    """The longest of these waits."""
    spool_max_mib: float = 64
    """The largest size of spool and outbox together, per home."""
    spool_max_days: float = 14
    """The age at which undelivered events are dropped."""
    sent_max_mib: float = 16
    """The largest size of the archive ``sent/``, and of each of ``rejected/`` and ``damaged/``."""
    sent_max_days: float = 30
    """The age at which files in these three are deleted."""
    adopt_after_s: float | None = None
    """Another host's spool is adopted if it has not grown for this time; None: 120, or 30 in a service."""
    goodbye_s: float = 2
    """The longest wait for delivery at the exit of a container's first process; 0: no wait."""
    bursts: bool = True
    """Whether events are coalesced into bursts."""


OF_URL = ("format", "headers_file", "client_cert", "client_key", "compression", "plaintext")
"""The settings that belong to a ``url``. Those of the site's file do not apply to a user's own ``url``."""

NAMES = (
    *("enabled", "upload", "hardware", "url", *OF_URL),
    *("sidecar", "proxy", "ca_bundle", "deletion_contact"),
    *Limits._fields,
)
"""The names of all settings."""


def content(path: Path) -> bytes:
    """The first bytes of a file, one more than a settings file may have; no bytes if there is no such name.

    Raises:
        SettingsError: the name exists and cannot be read. An opt-out may be there, for example on a disk that
            is not mounted.
    """
    for _ in range(_TRIES):  # another process may create the file between two checks
        try:
            # Editors of Windows put a mark in front of UTF-8, which a person does not see, and TOML refuses.
            return files.read_bytes(path, _MAX_FILE_BYTES + 1, any_owner=True).removeprefix(_MARK)
        except (FileNotFoundError, NotADirectoryError):
            if not (obstacle := _obstacle(str(path))):
                return b""
        except SpoolUnsafeError as error:
            raise SettingsError(str(error)) from error
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    what = "leads nowhere" if os.path.islink(obstacle) else "is no directory"
    raise SettingsError(f"{path} cannot be read, because {obstacle} {what}; repair or remove it")


def _obstacle(path: str) -> str:
    """The name at which a path that cannot be followed ends; empty if the path merely does not exist.

    A plain file further up does not count: no settings can be below it, and no directory can be made there.
    """
    name = path
    while not os.path.lexists(name) and name != os.path.dirname(name):
        name = os.path.dirname(name)
    if name in {path, os.path.dirname(path)}:
        return "" if os.path.isdir(name) else name
    return name if os.path.islink(name) and not os.path.isdir(name) else ""


def parse(path: Path, raw: bytes) -> dict[str, Any]:
    """The settings in the bytes of a file; error messages call the file ``path``.

    Raises:
        SettingsError: they cannot be understood; the message names the file and, where known, the line.
    """
    if len(raw) > _MAX_FILE_BYTES:
        raise SettingsError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    if not raw:
        return {}
    if raw.count(b".") > _MAX_DOTS:
        raise SettingsError(f"{path} holds more than {_MAX_DOTS} dots; settings have plain names")
    try:
        if (values := _plain(raw)) is None:
            values = _tomllib().loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        line = found[1] if found else len(raw.splitlines()) or 1
        raise SettingsError(f"{path}, line {line}, is no valid TOML: {error}") from error
    for name, value in values.items():
        if (refusal := problem(name, value, plaintext=values.get("plaintext") is True)) is not None:
            raise SettingsError(f"{where(path, name, raw)}: {refusal}")
    return values


def _plain(raw: bytes) -> dict[str, Any] | None:
    """The settings in the bytes of a file of the plainest form; None if only a parser can tell.

    Most files have that form, and ``tomllib`` takes longer to import than all the rest of a first event. A
    line is ``name = value`` with one of our names. The value is a number, ``true``, ``false``, or a text in
    double quotes without escapes.
    """
    values: dict[str, Any] = {}
    if not raw.isascii():
        return None
    for line in raw.decode("ascii").split("\n"):
        if not line.isprintable():
            return None
        if not (stripped := line.strip()) or stripped.startswith("#"):
            continue
        name, _, text = (part.strip() for part in stripped.partition("="))
        if name in values or name not in NAMES:
            return None
        if text in {"true", "false"}:
            values[name] = text == "true"
        elif _is_number(text):
            values[name] = float(text) if "." in text else int(text)
        elif text[:1] == text[-1:] == '"' and len(text) > 1 and not {'"', "\\"} & set(text[1:-1]):
            values[name] = text[1:-1]
        else:
            return None
    return values


def _is_number(text: str) -> bool:
    """Whether a text is a plain number of TOML: digits, with or without a fraction."""
    whole, point, fraction = text.partition(".")
    is_whole = whole.isdecimal() and (whole == "0" or whole[0] != "0") and len(whole) < _MAX_DIGITS
    return is_whole and (fraction.isdecimal() or not point)


def problem(name: str, value: object, *, plaintext: bool = False) -> str | None:
    """The error in one setting; None if there is none.

    Args:
        name: its name.
        value: its value.
        plaintext: whether the same file says ``plaintext = true``.
    """
    if name in {"enabled", "bursts", "upload", "hardware", "plaintext"}:
        return None if isinstance(value, bool) else f"{name} must be true or false"
    if name in CHOICES:
        return None if value in CHOICES[name] else f"{name} must be one of {', '.join(CHOICES[name])}"
    if name == "url":
        return url_problem(value, plaintext=plaintext)
    if name in {"headers_file", "client_cert", "client_key"}:
        is_path = isinstance(value, str) and os.path.isabs(os.path.expanduser(value)) and "\0" not in value
        return None if is_path else f"{name} must be the whole path of a file; ~ stands for your home"
    if name == "deletion_contact":
        is_contact = isinstance(value, str) and re.fullmatch(_CONTACT, value)
        return None if is_contact else "deletion_contact must be a mail address or https://…"
    if name in {"proxy", "ca_bundle"}:
        if not isinstance(value, str) or not value:
            return f"{name} must be a non-empty string"
        is_valid = name == "ca_bundle" or re.search(_PROXY, value)
        return None if is_valid else "proxy must be http://host:port, or a URL of another kind of proxy"
    if name in Limits._fields:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_in_range = is_number and 0 <= value <= _LARGEST  # type: ignore[operator]
        return None if is_in_range else f"{name} must be a number from 0 to {_LARGEST:.0e}"
    return f"there is no setting called {name if name.isprintable() else ascii(name)}{_meant(name)}"


def _meant(name: str) -> str:
    """A question with the name that a misspelt one may stand for; empty if none is like it."""
    near = _difflib().get_close_matches(name[:40].lower(), NAMES, 1)
    return f"; did you mean {near[0]}?" if near else ""


def url_problem(value: object, *, plaintext: bool = False) -> str | None:
    """The reason why ``value`` is no valid URL of a collector; None if it is valid.

    Args:
        value: the URL.
        plaintext: whether it may be http to another machine.
    """
    if not isinstance(value, str):
        return "url must be a string"
    ipaddress, urllib_parse = _for_urls()
    is_http = value.startswith("http:")
    try:
        parts = urllib_parse.urlsplit(value)
        host, path, _ = parts.hostname or "", parts.path, parts.port
        if parts.username is not None or parts.password is not None:
            return "url must not hold a user name or a password"
        if parts.scheme == "file":
            is_whole = parts.netloc == "" and path.startswith("/") and not path.endswith("/")
            is_valid = is_whole and "%00" not in path
        elif parts.scheme == "http":
            is_valid = host == "localhost" or (plaintext and host != "")
            is_valid = is_valid or ipaddress.ip_address(host).is_loopback
        else:
            is_valid = parts.scheme == "https" and host != ""
    except ValueError:
        is_valid = False
    if is_valid:
        return None
    advice = "; http:// to another machine needs plaintext = true in the same file" if is_http else ""
    return f"url must be https://…, http:// to a loopback address, or file:///…{advice}"


def where(path: Path, name: str, raw: bytes) -> str:
    """``path, line N`` of a setting in the bytes of a file; only the path if the line is unknown."""
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
        if re.match(rf"\s*[\[\"']*{re.escape(name)}\b", line):
            return f"{path}, line {number}"
    return str(path)


# Most homes have no settings file, and few files have a URL. So each module is imported at its first use.


@undisturbed
def _tomllib() -> ModuleType:
    import tomllib

    return tomllib


@undisturbed
def _difflib() -> ModuleType:
    import difflib

    return difflib


@undisturbed
def _for_urls() -> tuple[ModuleType, ModuleType]:
    import ipaddress
    import urllib.parse

    return ipaddress, urllib.parse
