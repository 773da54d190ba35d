"""The LaunchAgent of macOS: its name, its text, and who wrote a file last.

launchd reads the files in ``~/Library/LaunchAgents`` when a user logs in. A comment holds the SHA-256 of all
other text, as the first line of a unit of systemd does. This module only reads the disk.
"""

from __future__ import annotations

import plistlib
import re
from typing import Any
from xml.parsers.expat import ExpatError

from ...errors import ExitCode, ServiceError
from . import unit
from .machine import Machine
from .unit import Author, hash_of

LABEL = "ai.flower.flwr-telemetryd"
AGENT = f"{LABEL}.plist"
"""A user has one, for a service or for a timer."""

_SEAL = re.compile(r"<!-- Written by `flwr-telemetry service install`; sha256 ([0-9a-f]{64}) -->\n")
_EVERY_S = 900
_RESTART_S = 60

# launchd starts a job again after any exit code but 0, and a service that finds telemetry off must stay down.
_SERVICE_CODE = (
    "import sys; from flwr_telemetryd.__main__ import main; "
    f"sys.exit({{{ExitCode.DISABLED:d}: 0}}.get(code := main(), code))"
)


def render(machine: Machine, *, timer: bool) -> str:
    """The text for one machine, sealed.

    Args:
        machine: the values.
        timer: deliver now and then, without a process that stays.

    Raises:
        ServiceError: a path or a value cannot be written in a property list.
    """
    how = ["-m", "flwr_telemetryd", "--once"] if timer else ["-c", _SERVICE_CODE, "--service"]
    content: dict[str, Any] = {
        "Label": LABEL,
        "ProgramArguments": [machine.interpreter, "-P", *how],
        # Named also where it is the default, because it tells which home is served.
        "EnvironmentVariables": {"FLWR_HOME": str(machine.home), **machine.variables},
        "RunAtLoad": True,
        # A training always comes first: the lowest share of processor and disk.
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Nice": 10,
        "Umask": 0o077,
        "HardResourceLimits": {"Core": 0},  # the memory holds events
        "ExitTimeOut": 10,  # after SIGTERM a service delivers for 5 s
    }
    if timer:
        content["StartInterval"] = _EVERY_S
    else:
        content |= {"KeepAlive": {"SuccessfulExit": False}, "ThrottleInterval": _RESTART_S}
    try:
        text = plistlib.dumps(content, sort_keys=False).decode()
    except ValueError as error:  # a control character, or bytes that are no text
        raise ServiceError(f"a path or a variable cannot be named in {AGENT}: {error}") from error
    head, _, rest = text.partition("\n")
    seal = f"<!-- Written by `flwr-telemetry service install`; sha256 {hash_of(text)} -->"
    return f"{head}\n{seal}\n{rest}"


def author(text: str | None) -> Author:
    """The last author of the text of a file; None means that there is no file."""
    return unit.author(text, _SEAL)


def home_of(text: str | None) -> str | None:
    """The home that an agent of ours serves; None for any other text."""
    home = _content(text).get("EnvironmentVariables", {}).get("FLWR_HOME")
    return home if isinstance(home, str) else None


def interpreter_of(text: str | None) -> str:
    """The Python that an agent of ours runs; empty for any other text."""
    return str(next(iter(_content(text).get("ProgramArguments", ())), ""))


def is_timer(text: str | None) -> bool:
    """Whether an agent delivers now and then."""
    return "StartInterval" in _content(text)


def _content(text: str | None) -> dict[str, Any]:
    if text is None or author(text) is Author.FOREIGN:
        return {}
    try:
        found = plistlib.loads(text.encode(errors="surrogateescape"))
    except (ValueError, ExpatError):
        return {}
    is_whole = isinstance(found, dict) and isinstance(found.get("EnvironmentVariables", {}), dict)
    return found if is_whole else {}
