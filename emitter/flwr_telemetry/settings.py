"""Decides whether telemetry is on, and why, and merges all settings.

Settings in the environment are read here, those in a file by ``settings_file.py``. Telemetry is off if the
site's file, the environment or the user's file says so. There is one exception: ``FLWR_TELEMETRY_ENABLED=1``
overrides ``DO_NOT_TRACK``. ``upload`` and ``hardware`` are off, too, if any of them says so. For all other
settings, the user's file overrides the site's.

This module never writes. A file that it cannot understand switches telemetry off.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from . import settings_file, system
from .errors import SettingsError, is_unreachable
from .layout import Home
from .named import Any, NamedTuple
from .settings_file import SIDECAR_CHOICES, Limits
from .switch import says_yes

SITE_FILE = Path(system.SITE_FILE)
UPLOAD = "FLWR_TELEMETRY_UPLOAD"
"""If this variable is set to anything but a yes, the events of the process are never sent."""
SIDECAR = "FLWR_TELEMETRY_SIDECAR"
RECHECK_S = 1.0
"""The least time between two checks of a process for changed settings and for a running sidecar."""

DEFAULT_URL = "https://telemetry.flower.ai/api/v1/event"

_NAMES = (
    "FLWR_TELEMETRY_ENABLED FLWR_TELEMETRY_LOGGING FLWR_TELEMETRY_PARTNER_ID FLWR_TELEMETRY_SIDECAR "
    f"FLWR_TELEMETRY_UPLOAD DO_NOT_TRACK FLWR_HOME {system.HOME_VARIABLE}".split()
)
_RAW_NAMES = tuple(_NAMES if system.WINDOWS else map(os.fsencode, _NAMES))
_PythonsOwn = os._Environ  # noqa: SLF001 - see `variables`

_NO = frozenset({"0", "false", "no", "off"})


class Consent(NamedTuple):
    """Whether telemetry is on, and why."""

    enabled: bool
    decided_by: str
    """``site file``, ``user file``, ``FLWR_TELEMETRY_ENABLED``, ``DO_NOT_TRACK``, ``owner``, ``default``."""
    reason: str
    """One sentence for a person, with file and line or with the variable's value."""
    malformed: bool = False
    """Whether a settings file could not be understood; that is no reason to purge."""


class Settings(NamedTuple):
    """All settings of a home and a process."""

    consent: Consent
    url: str = DEFAULT_URL
    """The collector: https, http to a loopback address, or ``file:///…``."""
    format: str = "flower"
    """How bodies are sent over HTTP: in Flower's own form, or as ``otlp``."""
    headers_file: str | None = None
    """The path of a file with headers for the collector, which may be secret."""
    client_cert: str | None = None
    """The path of a certificate that is shown to the collector."""
    client_key: str | None = None
    """The path of its key, unless that is in the same file."""
    compression: str | None = None
    """``gzip`` or ``none``; None: ``gzip`` for OTLP, otherwise what the collector says that it takes."""
    plaintext: bool = False
    """Whether ``url``, in the same file, may be http to another machine."""
    sidecar: str = "auto"
    """Whether a process may start a sidecar: ``auto``, ``always`` or ``never``."""
    proxy: str | None = None
    """The proxy of the requests; None means the environment's."""
    ca_bundle: str | None = None
    """The path of the certificates to trust; None means the environment's or the built-in ones."""
    deletion_contact: str | None = None
    """The mail address or https URL for deletion requests of a collector that is not Flower's."""
    kept_by: str = ""
    """The reason why events are collected and never sent (``upload = false``); empty if they are sent."""
    hardware: bool = True
    """Whether the two figures of psutil are added to events."""
    limits: Limits = Limits()
    logging: bool = False
    """Whether every payload is logged; only the environment sets it."""
    partner: str | None = None
    """The raw ``FLWR_TELEMETRY_PARTNER_ID``; only the environment sets it."""
    unanswered: bool = False
    """Whether telemetry is off only because a file server has not answered, so consent is not known."""


Texts = tuple[bytes | SettingsError, bytes | SettingsError]
"""The texts of the site's and of the user's file, or why one cannot be read."""


def load(
    home: Home,
    environ: Mapping[str, str] | None,
    *,
    site_file: Path = SITE_FILE,
    texts: Texts | None = None,
) -> Settings:
    """Read all settings again.

    Args:
        home: the home whose settings are read.
        environ: the variables of the process; None decides by the files alone, as the sidecar does.
        site_file: the site's settings.
        texts: the result of ``read_texts``, if the files were read just now.

    Never raises because of a file: if one cannot be read or understood, telemetry is off.
    """
    variables = environ or {}
    is_logging = variables.get("FLWR_TELEMETRY_LOGGING") == "1"
    found: list[_File] = []
    names, paths = ("site file", "user file"), (site_file, home.config)
    for name, path, raw in zip(names, paths, texts or read_texts(home, site_file), strict=True):
        try:
            if isinstance(raw, SettingsError):
                raise raw
            found.append(_File(name, path, raw, settings_file.parse(path, raw)))
        except SettingsError as error:
            refusal = Consent(enabled=False, decided_by=name, reason=str(error), malformed=True)
            unanswered = is_unreachable(error)
            return Settings(consent=refusal, logging=is_logging, unanswered=unanswered)
    site, user = found
    try:
        consent = _decide(home, variables, site, user)
    except OSError as error:
        refusal = Consent(False, "owner", f"{home.path} cannot be read: {error.strerror}")
        return Settings(consent=refusal, logging=is_logging, unanswered=is_unreachable(error))
    sites = dict(site.values)
    if "url" in user.values:
        for name in settings_file.OF_URL:
            sites.pop(name, None)
    values = {**sites, **user.values}
    for name in ("enabled", "upload"):
        values.pop(name, None)
    values["hardware"] = all(file.values.get("hardware", True) for file in found)
    limits = {name: values.pop(name) for name in Limits._fields if name in values}
    if sidecar := sidecar_choice(variables):
        values["sidecar"] = sidecar
    return Settings(
        consent=consent,
        kept_by=site.says("upload", False) or upload_refusal(variables) or user.says("upload", False),
        limits=Limits(**limits),
        logging=is_logging,
        partner=variables.get("FLWR_TELEMETRY_PARTNER_ID"),
        **values,
    )


def signature(home: Home, site_file: Path = SITE_FILE, texts: Texts | None = None) -> tuple[object, ...]:
    """A value that changes with the text of a settings file and with the owner of the home.

    It holds the texts, because the status of a file does not show every change. Some tools write in place and
    keep the time, and FAT shows that time also as the time of the inode's last change.

    Args:
        home: the home.
        site_file: the site's settings.
        texts: as for ``load``.
    """
    found = texts or read_texts(home, site_file)
    return *(text if isinstance(text, bytes) else str(text) for text in found), is_owned(home.path)


def read_texts(home: Home, site_file: Path = SITE_FILE) -> Texts:
    """Read the texts of both settings files. The site's is an error if any user may have written it."""
    site = _text(site_file)
    if site and isinstance(site, bytes) and (reason := system.distrust(site_file)):
        site = SettingsError(f"{site_file} is not obeyed, because {reason}")
    return site, _text(home.config)


def _text(path: Path) -> bytes | SettingsError:
    try:
        return settings_file.content(path)
    except SettingsError as error:
        return error


def variables() -> tuple[Any, ...]:
    """The raw values of all variables that this module reads; equal as long as none has changed.

    ``os.environ`` is looked up at each call, because a program may put another mapping in its place.
    """
    return reader(os.environ)()


def reader(environ: Mapping[str, str]) -> Callable[[], tuple[Any, ...]]:
    """A fast ``variables`` for one mapping.

    ``os.environ.get`` encodes, decodes and raises inside for each name that is not set, which takes 2 µs. So
    the plain dict inside is read.
    """
    if type(environ) is _PythonsOwn:
        get = environ._data.get  # type: ignore[attr-defined]  # noqa: SLF001
        return lambda: tuple(map(get, _RAW_NAMES))
    return lambda: tuple(map(environ.get, _NAMES))


class _File(NamedTuple):
    """A settings file that was read."""

    name: str
    path: Path
    raw: bytes
    values: dict[str, Any]

    def consent(self, *, enabled: bool) -> Consent | None:
        """The decision of this file, if it is the given one."""
        reason = self.says("enabled", enabled)
        return Consent(enabled, self.name, reason) if reason else None

    def says(self, name: str, value: bool) -> str:
        """One sentence with file and line if this file gives a setting that value; else empty."""
        if self.values.get(name) is not value:
            return ""
        return f"{settings_file.where(self.path, name, self.raw)} says {name} = {str(value).lower()}"


def _decide(home: Home, environ: Mapping[str, str], site: _File, user: _File) -> Consent:
    return (
        site.consent(enabled=False)
        or environment_refusal(environ)
        or user.consent(enabled=False)
        or _owner_refusal(home.path)
        or _by_variable("FLWR_TELEMETRY_ENABLED", environ, enabled=True)
        or user.consent(enabled=True)
        or site.consent(enabled=True)
        or Consent(enabled=True, decided_by="default", reason="nothing says otherwise")
    )


def environment_refusal(environ: Mapping[str, str]) -> Consent | None:
    """The opt-out in the environment; None if there is none."""
    asked = environ.get("FLWR_TELEMETRY_ENABLED")
    if asked is not None:
        return None if says_yes(asked) else _by_variable("FLWR_TELEMETRY_ENABLED", environ, enabled=False)
    if environ.get("DO_NOT_TRACK", "") in {"", "0"}:
        return None
    return _by_variable("DO_NOT_TRACK", environ, enabled=False)


def sidecar_choice(environ: Mapping[str, str]) -> str:
    """The variable's answer to whether a process may start a sidecar; empty if it says nothing valid."""
    word = environ.get(SIDECAR, "").lower()
    return "never" if word in _NO else word if word in SIDECAR_CHOICES else ""


def upload_refusal(environ: Mapping[str, str]) -> str:
    """Why the events of a process with these variables are never sent; empty if they may be sent."""
    asked = environ.get(UPLOAD)
    return "" if asked is None or says_yes(asked) else f"the variable {UPLOAD} is {asked!r}"


def _by_variable(name: str, environ: Mapping[str, str], *, enabled: bool) -> Consent | None:
    """The decision of a variable; None if it is not set."""
    if name not in environ:
        return None
    return Consent(enabled, name, f"the variable {name} is {environ[name]!r}")


def _owner_refusal(path: Path) -> Consent | None:
    reason = f"{path} belongs to another user than the one that runs this"
    return None if _is_own(path) else Consent(False, "owner", reason)


def is_owned(path: Path) -> bool:
    """Whether ``path``, or its nearest existing parent, belongs to the effective user."""
    try:
        return _is_own(path)
    except OSError:
        return False


def _is_own(path: Path) -> bool:
    for candidate in (path, *path.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return system.is_own(candidate.stat())
    return True  # a drive of Windows that does not exist: the write of the event gives the error
