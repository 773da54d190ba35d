"""The settings of a home, each with its value, its default, and which file or variable decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr_telemetry import settings, settings_file
from flwr_telemetry.errors import SettingsError
from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Settings
from flwr_telemetry.settings_file import Limits
from flwr_telemetry.switch import SWITCH

from .config_file import Value

_VARIABLES = {"enabled": SWITCH, "upload": settings.UPLOAD, "sidecar": settings.SIDECAR}
_NO_WINS = {"enabled", "upload", "hardware"}
"""A "no" of any file or variable counts."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    name: str
    value: Any
    """The value in force."""
    default: Any
    decided_by: str
    """A file with its line, a variable, or ``default``."""


def explain(home: Home, environ: Mapping[str, str]) -> list[Setting]:
    """Every setting of a home and of a process with these variables.

    Raises:
        SettingsError: a file cannot be read or understood.
    """
    texts = {path: settings_file.content(path) for path in (settings.SITE_FILE, home.config)}
    files = {path: settings_file.parse(path, text) for path, text in texts.items()}
    now = settings.load(home, environ)

    def by(name: str, value: Any) -> str:
        if name == "enabled" and now.consent.decided_by != "default":
            return now.consent.reason
        if name == "upload" and now.kept_by:
            return now.kept_by
        variable = _VARIABLES.get(name, "")
        if name == "sidecar" and settings.sidecar_choice(environ):
            return f"the variable {variable}"
        is_of_users_url = name in settings_file.OF_URL and "url" in files[home.config]
        for path in (home.config,) if is_of_users_url else (home.config, settings.SITE_FILE):
            if name in files[path] and (name not in _NO_WINS or files[path][name] == value):
                return settings_file.where(path, name, texts[path])
        return "default"

    defaults = Settings(now.consent)
    found = []
    for name in settings_file.NAMES:
        value, default = _value(now, name), True if name == "enabled" else _value(defaults, name)
        found.append(Setting(name, value, default, by(name, value)))
    return found


def _value(now: Settings, name: str) -> Any:
    if name == "enabled":
        return now.consent.enabled
    if name == "upload":
        return not now.kept_by
    return getattr(now.limits if name in Limits._fields else now, name)


def value_of(home: Home, name: str, text: str) -> Value:
    """The value that a person typed for a setting of a home.

    Raises:
        SettingsError: the text cannot be a value of this setting.
    """
    value: Any = text
    if text in {"true", "false"}:
        value = text == "true"
    elif name in Limits._fields:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
    own = settings_file.parse(home.config, settings_file.content(home.config)) if name == "url" else {}
    if (problem := settings_file.problem(name, value, plaintext=own.get("plaintext") is True)) is not None:
        raise SettingsError(problem)
    return value  # type: ignore[no-any-return]
