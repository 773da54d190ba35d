"""May I, and why: the only reader of the environment, and of the settings files (``settings_file.py``).

One order, one answer. Telemetry is off if the site's file, the environment or the user's file says so:
any no is a no. The one exception: ``FLWR_TELEMETRY_ENABLED=1``, set explicitly, overrides
``DO_NOT_TRACK``. Everything else in the files is a property of the home; the user's word wins over the
site's. This room must never write, and never let a file that it cannot understand pass for a yes.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import settings_file
from .errors import SettingsError
from .layout import Home
from .settings_file import SIDECAR_CHOICES, Limits
from .switch import says_yes

SITE_FILE = Path("/etc/flwr/telemetry.toml")
DEFAULT_URL = "https://telemetry.flower.ai/api/v1/event"

# os.environ encodes, decodes and raises inside for every name that is not set: 2 µs each. What is behind
# it is a plain dict; where it is not, we do without noticing changes between two looks.
_VARIABLES: Mapping[Any, Any] = getattr(os.environ, "_data", {})
_encode = getattr(os.environ, "encodekey", lambda name: name)
_WATCHED = tuple(
    _encode(name)
    for name in (
        "FLWR_TELEMETRY_ENABLED",
        "FLWR_TELEMETRY_LOGGING",
        "FLWR_TELEMETRY_PARTNER_ID",
        "FLWR_TELEMETRY_SIDECAR",
        "DO_NOT_TRACK",
        "FLWR_HOME",
        "HOME",
    )
)


class Consent(NamedTuple):
    """Whether telemetry is on, and what decided it.

    Attributes:
        enabled: the answer.
        decided_by: ``site file``, ``user file``, ``FLWR_TELEMETRY_ENABLED``, ``DO_NOT_TRACK``, ``owner``
            or ``default``.
        reason: one sentence for a person: file and line, or the variable's value.
        malformed: a settings file could not be understood; nothing may be purged for that.
    """

    enabled: bool
    decided_by: str
    reason: str
    malformed: bool = False


class Settings(NamedTuple):
    """Everything that is decided outside the code.

    Attributes:
        consent: may I, and why.
        url: where events go: https, http to loopback, or ``file:///…``.
        sidecar: ``auto``, ``always`` or ``never``: may a sidecar be started.
        proxy: of the requests; None: the environment's.
        ca_bundle: path of the certificates to trust; None: the environment's or the built-in ones.
        limits: the numbers.
        logging: log every payload (environment only).
        partner: the raw ``FLWR_TELEMETRY_PARTNER_ID`` (environment only).
    """

    consent: Consent
    url: str = DEFAULT_URL
    sidecar: str = "auto"
    proxy: str | None = None
    ca_bundle: str | None = None
    limits: Limits = Limits()
    logging: bool = False
    partner: str | None = None


def load(
    home: Home,
    environ: Mapping[str, str] | None,
    *,
    site_file: Path = SITE_FILE,
    user_id: int | None = None,
) -> Settings:
    """Read everything afresh.

    Args:
        home: whose settings.
        environ: the process's variables; None to judge by the files alone, as the sidecar does.
        site_file: the site's settings.
        user_id: the effective user; None asks the system.

    Never raises for what a file holds or for how it cannot be read: telemetry is then off.
    """
    variables = environ or {}
    files: list[tuple[str, Path, dict[str, Any]]] = []
    for name, path in (("site file", site_file), ("user file", home.config)):
        try:
            files.append((name, path, settings_file.read(path)))
        except SettingsError as error:
            refusal = Consent(enabled=False, decided_by=name, reason=str(error), malformed=True)
            return Settings(consent=refusal, logging=variables.get("FLWR_TELEMETRY_LOGGING") == "1")
    merged: dict[str, Any] = {}
    for _, _, values in files:
        merged.update(values)
    limits = {name: merged[name] for name in Limits._fields if name in merged}
    sidecar = variables.get("FLWR_TELEMETRY_SIDECAR", "").lower()
    return Settings(
        consent=_decide(home, variables, files, user_id),
        url=merged.get("url", DEFAULT_URL),
        sidecar=sidecar if sidecar in SIDECAR_CHOICES else merged.get("sidecar", "auto"),
        proxy=merged.get("proxy"),
        ca_bundle=merged.get("ca_bundle"),
        limits=Limits(**limits),
        logging=variables.get("FLWR_TELEMETRY_LOGGING") == "1",
        partner=variables.get("FLWR_TELEMETRY_PARTNER_ID"),
    )


def watched(home: Home, site_file: Path = SITE_FILE) -> tuple[str, ...]:
    """The paths by which ``signature`` tells whether anything has changed."""
    return str(site_file), str(home.config), str(home.path)


def signature(paths: tuple[str, ...]) -> tuple[object, ...]:
    """What changes when a settings file is written, replaced or removed; one ``stat`` for each path."""
    return tuple(map(_stat_key, paths))


def _stat_key(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if path.endswith(".toml"):
        return status.st_ino, status.st_mtime_ns, status.st_size
    return status.st_ino, status.st_uid


def variables() -> tuple[Any, ...]:
    """The raw values of the variables that matter; equal as long as none of them has changed."""
    return tuple(map(_VARIABLES.get, _WATCHED))


def _decide(
    home: Home,
    environ: Mapping[str, str],
    files: list[tuple[str, Path, dict[str, Any]]],
    user_id: int | None,
) -> Consent:
    for name, path, values in files[:1]:
        if values.get("enabled") is False:
            return _by_file(name, path, enabled=False)
    if (refusal := environment_refusal(environ)) is not None:
        return refusal
    for name, path, values in files[1:]:
        if values.get("enabled") is False:
            return _by_file(name, path, enabled=False)
    if not is_owned(home.path, user_id):
        return Consent(
            enabled=False,
            decided_by="owner",
            reason=f"{home.path} belongs to another user than the one that runs this",
        )
    if (asked := environ.get("FLWR_TELEMETRY_ENABLED")) is not None:
        return Consent(
            enabled=True,
            decided_by="FLWR_TELEMETRY_ENABLED",
            reason=f"the variable FLWR_TELEMETRY_ENABLED is {asked!r}",
        )
    for name, path, values in reversed(files):
        if values.get("enabled") is True:
            return _by_file(name, path, enabled=True)
    return Consent(enabled=True, decided_by="default", reason="nothing says otherwise")


def _by_file(name: str, path: Path, *, enabled: bool) -> Consent:
    place = settings_file.where(path, "enabled")
    return Consent(enabled, decided_by=name, reason=f"{place} says enabled = {str(enabled).lower()}")


def environment_refusal(environ: Mapping[str, str]) -> Consent | None:
    """The environment's no, if it says one."""
    asked = environ.get("FLWR_TELEMETRY_ENABLED")
    if asked is not None and not says_yes(asked):
        return Consent(
            enabled=False,
            decided_by="FLWR_TELEMETRY_ENABLED",
            reason=f"the variable FLWR_TELEMETRY_ENABLED is {asked!r}",
        )
    do_not_track = environ.get("DO_NOT_TRACK", "")
    if asked is None and do_not_track not in {"", "0"}:
        return Consent(
            enabled=False,
            decided_by="DO_NOT_TRACK",
            reason=f"the variable DO_NOT_TRACK is {do_not_track!r}",
        )
    return None


def is_owned(path: Path, user_id: int | None = None) -> bool:
    """Whether ``path``, or its nearest existing parent, belongs to the user; None asks the system who."""
    if user_id is None:
        if not hasattr(os, "geteuid"):
            return True
        user_id = os.geteuid()
    for candidate in (path, *path.parents):
        try:
            return candidate.stat().st_uid == user_id
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return False
    return False
