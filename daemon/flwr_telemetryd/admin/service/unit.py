"""The units: their names, the texts that are shipped, rendering for one machine, and who wrote a file last.

The first line of a written file holds the SHA-256 of the rest. It tells a later install or uninstall whether
the file is unchanged. The next line names the home and the interpreter. This module never starts a program.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import re
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flwr_telemetry import files
from flwr_telemetry.layout import Home

from ...errors import ServiceError
from .machine import Machine

SERVICE = "flwr-telemetryd.service"
ONCE = "flwr-telemetryd-once.service"
TIMER = "flwr-telemetryd-once.timer"

DELIVERS = {SERVICE: SERVICE, TIMER: ONCE}
"""The units that an install can enable, each with the unit that delivers."""

_PACKAGE = Path(__file__).resolve().parents[2]
_PLACES = (_PACKAGE / "units", _PACKAGE.parents[1] / "systemd")
"""Directories of the shipped texts: in an installed package, and in a checkout."""

_NOTE = "# It serves "
_HOST = "ConditionHost=|"
_SEAL = re.compile(r"\A# Written by `flwr-telemetry service install`; sha256 ([0-9a-f]{64})\n")

_QUOTES = set("\"'\\")
_NOT_WRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(slots=True)
class Changes:
    """The result of an install or an uninstall. Files are named relative to ``directory``."""

    directory: Path
    """The directory of the user's units, or of the agents."""

    unit: str = ""
    """The enabled unit; empty after an uninstall."""

    written: list[str] = field(default_factory=list)
    """Files that were written; empty if all were up to date."""

    removed: list[str] = field(default_factory=list)
    """Files that were removed."""

    kept: list[str] = field(default_factory=list)
    """One sentence for each file that should go, and was not removed."""

    complaint: str = ""
    """The error message of the service manager, if the unit could not be started."""


def shipped(name: str) -> str:
    """The text of a unit as it is shipped.

    Raises:
        FileNotFoundError: this installation lacks it.
    """
    for place in _PLACES:
        if (path := place / name).is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(2, "this installation lacks a file of its own", str(_PLACES[0] / name))


def epilog(program: Path) -> str:
    """The epilog for Slurm that runs this ``flwr-telemetryd``."""
    text = shipped("slurm-epilog.sh")
    return text.replace("COMMAND=/usr/local/bin/flwr-telemetryd", f"COMMAND={shlex.quote(str(program))}")


def drop_in(unit: str) -> str:
    """Name of the drop-in that switches settings of a unit off, relative to the directory of units."""
    return f"{unit}.d/50-flwr-telemetry-no-namespaces.conf"


class Author(enum.StrEnum):
    """The last author of a file, in words that ``service status`` shows."""

    NONE = "there is none"
    OURS = "as it was written"
    EDITED = "edited since"
    FOREIGN = "not ours"


def sealed(text: str) -> str:
    """``text`` below a line with its SHA-256."""
    return f"# Written by `flwr-telemetry service install`; sha256 {hash_of(text)}\n{text}"


def author(text: str | None, seal: re.Pattern[str] = _SEAL) -> Author:
    """The last author of the text of a file.

    Args:
        text: the text; None if there is no file.
        seal: finds the line with the SHA-256 of all other text.
    """
    if text is None:
        return Author.NONE
    found = seal.search(text)
    if found is None:
        return Author.FOREIGN
    return Author.OURS if hash_of(text[: found.start()] + text[found.end() :]) == found[1] else Author.EDITED


def hash_of(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def read(path: Path) -> str | None:
    """The text of a unit; None if there is no file, and an empty text if it is not a regular file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: Path, text: str) -> bool:
    """Write a unit or an agent by one rename; False if it has this text already."""
    if read(path) == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_bytes(path, text.encode(), durable=True, any_owner=True)
    return True


def check_ours(path: Path, by: Author, advice: str = "") -> None:
    """Refuse to overwrite a unit or an agent that is not exactly as this package wrote it.

    Raises:
        ServiceError: a user edited it, or another program wrote it. The message ends with ``advice``.
    """
    reasons = {
        Author.EDITED: "was edited since it was written",
        Author.FOREIGN: "was not written by this command",
    }
    if reason := reasons.get(by):
        raise ServiceError(f"{path} {reason}, so it is left as it is; move it away and install again{advice}")


def check_serves(path: Path, served: str | None, home: Home) -> None:
    """Refuse to replace the service of another home, because a user has one unit of each name.

    Raises:
        ServiceError: the unit serves another home.
    """
    if served is not None and not is_same(served, home):
        raise ServiceError(
            f"{path} serves {served}, and a user has one service; run `flwr-telemetry service uninstall`, "
            f"then install again. Events in {home.path} are delivered without a service, too"
        )


def is_same(served: str, home: Home) -> bool:
    """Whether the home that a unit names is this home, perhaps through a link."""
    return os.path.realpath(served) == os.path.realpath(home.path)


def note_of(text: str) -> dict[str, str]:
    """The values ``home`` and ``interpreter`` that a unit of ours notes; empty for any other text."""
    notes = (line.removeprefix(_NOTE) for line in text.splitlines()[:2] if line.startswith(_NOTE))
    try:
        found = json.loads(next(notes, "{}"))
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def hosts_of(text: str) -> list[str]:
    """The hosts on which a unit of ours runs; empty if it runs on every host that sees it."""
    return [line.removeprefix(_HOST) for line in text.splitlines() if line.startswith(_HOST)]


def allows(text: str, directory: Path) -> bool:
    """Whether the ``ReadWritePaths=`` of a unit let its service write to a directory."""
    paths = [_quote(f"-{path}") for path in (directory, *directory.parents)]
    values = [line.partition("=")[2] for line in text.splitlines() if line.startswith("ReadWritePaths=")]
    return any(f" {path} " in f" {value} " for value in values for path in paths)


def render(text: str, machine: Machine, hosts: Iterable[str] = ()) -> str:
    """A shipped unit with the values of this machine.

    Args:
        text: the unit as it is shipped; a timer has few values to fill in.
        machine: the values.
        hosts: further hosts on which the unit runs; see ``hosts_of``.

    Raises:
        ServiceError: a path or a value cannot be written in a unit.
    """
    lines = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name == "Documentation" and "\n[Install]\n" in text:
            lines += [line, *_conditions(machine.host, hosts)]
        elif name == "ExecStart":
            lines += [_command(machine.interpreter, value.rpartition(" ")[2]), *_variables(machine)]
        elif name == "ReadWritePaths":
            lines.append("ReadWritePaths=" + " ".join(_quote(f"-{path}") for path in machine.writes))
        elif name == "PrivateTmp" and not machine.private_tmp:
            lines += ["# Off, because the service needs a file below /tmp or /var/tmp.", "PrivateTmp=no"]
        else:
            lines.append(line)
    note = json.dumps({"home": str(machine.home), "interpreter": machine.interpreter})
    return "\n".join([f"{_NOTE}{note}", *lines]) + "\n"


def _conditions(host: str, hosts: Iterable[str]) -> list[str]:
    if not host:
        return []
    reason = "# Every host of a shared home sees this file. It starts only on those where it was installed:"
    return [reason, *(f"{_HOST}{name}" for name in sorted({host, *hosts}))]


def _command(interpreter: str, mode: str) -> str:
    # systemd takes no quote character in the path of a program, but `env` takes any path as its argument.
    before = "/usr/bin/env " if _QUOTES & set(interpreter) else ""
    # A colon switches variables off, so that a `$` stays as it is.
    literal = ":" if "$" in interpreter else ""
    return f"ExecStart={literal}{before}{_quote(interpreter)} -P -m flwr_telemetryd {mode}"


def _variables(machine: Machine) -> list[str]:
    variables = {} if machine.is_default else {"FLWR_HOME": str(machine.home)}
    variables.update(machine.variables)
    return [f"Environment={_quote(f'{name}={value}')}" for name, value in variables.items()]


def _quote(text: str) -> str:
    """``text`` as one word of ``ExecStart=``, ``Environment=`` or ``ReadWritePaths=``."""
    if _NOT_WRITABLE.search(text):
        msg = f"{text!r} cannot be named in a unit: it holds a control character, or bytes that are no text"
        raise ServiceError(msg)
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[^\w./:@+,=%-]", escaped) or not escaped else escaped
