"""May I, and why: the only reader of the environment and of the settings files.

One order, one answer. Telemetry is off if the site's file, the environment or the user's file says so:
any no is a no. The one exception: ``FLWR_TELEMETRY_ENABLED=1``, set explicitly, overrides
``DO_NOT_TRACK``. Everything else in the files is a property of the home; the user's word wins over the
site's. This room must never write, and never let a file that it cannot understand pass for a yes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .layout import Home

SITE_FILE = Path("/etc/flwr/telemetry.toml")
DEFAULT_URL = "https://telemetry.flower.ai/api/v1/event"

_YES = frozenset({"1", "true", "yes", "on"})
_SIDECAR = ("auto", "always", "never")
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
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


@dataclass(frozen=True, slots=True)
class Consent:
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


@dataclass(frozen=True, slots=True)
class Settings:
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
            files.append((name, path, _read_file(path)))
        except SettingsError as error:
            refusal = Consent(enabled=False, decided_by=name, reason=str(error), malformed=True)
            return Settings(consent=refusal, logging=variables.get("FLWR_TELEMETRY_LOGGING") == "1")
    merged: dict[str, Any] = {}
    for _, _, values in files:
        merged.update(values)
    limits = {field.name: merged[field.name] for field in fields(Limits) if field.name in merged}
    sidecar = variables.get("FLWR_TELEMETRY_SIDECAR", "").lower()
    return Settings(
        consent=_decide(home, variables, files, user_id),
        url=merged.get("url", DEFAULT_URL),
        sidecar=sidecar if sidecar in _SIDECAR else merged.get("sidecar", "auto"),
        proxy=merged.get("proxy"),
        ca_bundle=merged.get("ca_bundle"),
        limits=Limits(**limits),
        logging=variables.get("FLWR_TELEMETRY_LOGGING") == "1",
        partner=variables.get("FLWR_TELEMETRY_PARTNER_ID"),
    )


def signature(home: Home, site_file: Path = SITE_FILE) -> tuple[object, ...]:
    """What changes when a settings file is written, replaced or removed; three calls of ``stat``."""
    return tuple(_stat_key(str(path)) for path in (site_file, home.config, home.path))


def _stat_key(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - on the emitter's way
    except OSError:
        return None
    if path.endswith(".toml"):
        return status.st_ino, status.st_mtime_ns, status.st_size
    return status.st_ino, status.st_uid


def _decide(
    home: Home,
    environ: Mapping[str, str],
    files: list[tuple[str, Path, dict[str, Any]]],
    user_id: int | None,
) -> Consent:
    for name, path, values in files[:1]:
        if values.get("enabled") is False:
            return Consent(enabled=False, decided_by=name, reason=_where(path, "enabled"))
    if (refusal := environment_refusal(environ)) is not None:
        return refusal
    for name, path, values in files[1:]:
        if values.get("enabled") is False:
            return Consent(enabled=False, decided_by=name, reason=_where(path, "enabled"))
    if not _owned(home.path, user_id):
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
            return Consent(enabled=True, decided_by=name, reason=_where(path, "enabled"))
    return Consent(enabled=True, decided_by="default", reason="nothing says otherwise")


def environment_refusal(environ: Mapping[str, str]) -> Consent | None:
    """The environment's no, if it says one."""
    asked = environ.get("FLWR_TELEMETRY_ENABLED")
    if asked is not None and asked.strip().lower() not in _YES:
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


def _owned(path: Path, user_id: int | None) -> bool:
    """Whether ``path``, or its nearest existing parent, belongs to the user."""
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


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise SettingsError(msg) from error
    if len(raw) > _MAX_FILE_BYTES:
        msg = f"{path} is larger than {_MAX_FILE_BYTES} bytes"
        raise SettingsError(msg)
    import tomllib

    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{path} is no valid TOML: {error}"
        raise SettingsError(msg) from error
    for name, value in values.items():
        if (problem := _problem(name, value)) is not None:
            msg = f"{_where(path, name, raw)}: {problem}"
            raise SettingsError(msg)
    return values


def _problem(name: str, value: object) -> str | None:
    """What is wrong with one setting, or None."""
    if name in {"enabled", "bursts"}:
        return None if isinstance(value, bool) else f"{name} must be true or false"
    if name == "sidecar":
        return None if value in _SIDECAR else f"sidecar must be one of {', '.join(_SIDECAR)}"
    if name == "url":
        return url_problem(value)
    if name in {"proxy", "ca_bundle"}:
        return None if isinstance(value, str) and value else f"{name} must be a non-empty string"
    if name in {field.name for field in fields(Limits)}:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if number and 0 <= value < float("inf") else f"{name} must be a number, 0 or more"  # type: ignore[operator]
    return f"there is no setting called {name}"


def url_problem(value: object) -> str | None:
    """Why ``value`` may not be where events go, or None if it may."""
    if not isinstance(value, str):
        return "url must be a string"
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    advice = "url must be https://…, http:// to a loopback address, or file:///…"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return advice
    if parts.username is not None or parts.password is not None:
        return "url must not hold a user name or a password"
    if parts.scheme == "file":
        absolute = parts.netloc == "" and parts.path.startswith("/") and not parts.path.endswith("/")
        return None if absolute else advice
    if parts.scheme == "https":
        return None if host else advice
    if parts.scheme == "http":
        if host == "localhost":
            return None
        try:
            return None if ip_address(host).is_loopback else advice
        except ValueError:
            return advice
    return advice


def _where(path: Path, name: str, raw: bytes | None = None) -> str:
    """``path, line N`` of a setting."""
    try:
        text = (path.read_bytes() if raw is None else raw).decode("utf-8", "replace")
    except OSError:
        return str(path)
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"\s*[\[\"']*{re.escape(name)}\b", line):
            return f"{path}, line {number}"
    return str(path)
