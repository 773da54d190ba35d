"""What is there already: the text of a unit, whether we may change it, and what runs. It only looks."""

from __future__ import annotations

import enum
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr_telemetry.layout import Home
from flwr_telemetry.version import __version__

from ...errors import ServiceError
from ...state import State
from .machine import Machine


def read(path: Path) -> str | None:
    """The text of a unit; None if there is none, and an empty text for what is no plain file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_ours(path: Path) -> None:
    """Refuse to write over what somebody else wrote or edited.

    Raises:
        ServiceError: it is not as we wrote it.
    """
    who = author(read(path))
    if who not in {Author.WE, Author.NOBODY}:
        word = (
            "was edited since it was written" if who is Author.EDITED else "was not written by this command"
        )
        msg = (
            f"{path} {word}, and is left as it is; move it away and install again, and put your own settings "
            f"beside it by `systemctl --user edit {path.name}`"
        )
        raise ServiceError(msg)


def check_serves(path: Path, home: Home) -> None:
    """There is one unit of a name: what serves one home is not taken away for another without a word.

    Raises:
        ServiceError: it serves another home.
    """
    served = noted(read(path) or "").get("home")
    if served is not None and not is_same(served, home):
        msg = (
            f"{path} serves {served}, and a user has one service; `flwr-telemetry service uninstall` ends "
            f"that, then install again. What is in {home.path} is delivered without a service, too"
        )
        raise ServiceError(msg)


def is_same(served: str, home: Home) -> bool:
    """Whether the home that a unit names is this one, by whatever name."""
    return os.path.realpath(served) == os.path.realpath(home.path)


def former_version(home: Home, pid: str) -> str | None:
    """The version that a running service was started from, if it is not that of now; else None.

    Args:
        home: which it serves.
        pid: of its main process, in digits. What another process left says nothing of it.
    """
    state = State.load(home.host())
    return state.version if str(state.pid) == pid and state.version != __version__ else None


_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


_NOTE = "# It serves "


_HOST = "ConditionHost=|"


_STRANGE = set("\"'\\")


def render(shipped: str, needs: Machine, hosts: Iterable[str] = ()) -> str:
    """A unit for this machine.

    Args:
        shipped: the text as we ship it; a timer has little to fill in.
        needs: what is filled in.
        hosts: further machines on which it runs; see `hosts_of`.

    Raises:
        ServiceError: a path or a value cannot be written in a unit.
    """
    lines = []
    for line in shipped.splitlines():
        name, _, value = line.partition("=")
        if name == "Documentation" and "\n[Install]\n" in shipped:
            lines += [line, *_conditions(needs.host, hosts)]
        elif name == "ExecStart":
            lines += [_command(needs.interpreter, value.rpartition(" ")[2]), *_variables(needs)]
        elif name == "ReadWritePaths":
            lines.append("ReadWritePaths=" + " ".join(_word(f"-{path}") for path in needs.writes))
        elif name == "PrivateTmp" and not needs.private_tmp:
            lines += ["# (No: what it needs lies there.)", "PrivateTmp=no"]
        else:
            lines.append(line)
    note = json.dumps({"home": str(needs.home), "interpreter": needs.interpreter})
    return "\n".join([f"{_NOTE}{note}", *lines]) + "\n"


def noted(text: str) -> dict[str, str]:
    """What a unit of ours says of itself: ``home`` and ``interpreter``; empty if it does not."""
    for line in text.splitlines()[:2]:
        if line.startswith(_NOTE):
            try:
                found = json.loads(line.removeprefix(_NOTE))
            except ValueError:
                return {}
            return {name: value for name, value in found.items() if isinstance(value, str)}
    return {}


def hosts_of(text: str) -> list[str]:
    """The machines on which a unit of ours runs; none if it does so on every one that sees it."""
    return [line.removeprefix(_HOST) for line in text.splitlines() if line.startswith(_HOST)]


def allows(text: str, directory: Path) -> bool:
    """Whether a unit lets its service write to a directory, as far as it was rendered here."""
    words = [_word(f"-{path}") for path in (directory, *directory.parents)]
    return any(
        f" {word} " in f" {line.partition('=')[2]} "
        for line in text.splitlines()
        if line.startswith("ReadWritePaths=")
        for word in words
    )


def _conditions(host: str, hosts: Iterable[str]) -> list[str]:
    if not host:
        return []
    reason = "# Every machine of a shared home sees this file. It is for those where it was installed:"
    return [reason, *(f"{_HOST}{name}" for name in sorted({host, *hosts}))]


def _command(interpreter: str, mode: str) -> str:
    rest = f"-P -m flwr_telemetryd {mode}"
    # The first word may hold no quote, whatever is put around it; `env` takes it as its argument.
    before = "/usr/bin/env " if _STRANGE & set(interpreter) else ""
    # Where a `$` is to stay one, variables are not looked for at all.
    literal = ":" if "$" in interpreter else ""
    return f"ExecStart={literal}{before}{_word(interpreter)} {rest}"


def _variables(needs: Machine) -> list[str]:
    variables = {} if needs.is_default else {"FLWR_HOME": str(needs.home)}
    variables.update(needs.variables)
    return [f"Environment={_word(f'{name}={value}')}" for name, value in variables.items()]


def _word(text: str) -> str:
    """One word in any of the three grammars."""
    if _UNSPEAKABLE.search(text):
        msg = f"{text!r} cannot be named in a unit: it holds a control character, or bytes that are no text"
        raise ServiceError(msg)
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[^\w./:@+,=%-]", escaped) or not escaped else escaped


_SEAL = re.compile(r"# Written by `flwr-telemetry service install`; sha256 ([0-9a-f]{64})\n")


class Author(enum.Enum):
    """Who wrote a text last."""

    NOBODY = "there is none"
    WE = "as it was written"
    EDITED = "edited since"
    OTHERS = "not ours"


def sealed(text: str) -> str:
    """``text`` below a line that tells whether it is still the same."""
    return f"# Written by `flwr-telemetry service install`; sha256 {_hash(text)}\n{text}"


def author(text: str | None) -> Author:
    """Who wrote it last; None is a file that is not there."""
    if text is None:
        return Author.NOBODY
    found = _SEAL.match(text)
    if found is None:
        return Author.OTHERS
    return Author.WE if _hash(text[found.end() :]) == found[1] else Author.EDITED


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


SERVICE = "flwr-telemetryd.service"


ONCE = "flwr-telemetryd-once.service"


TIMER = "flwr-telemetryd-once.timer"


NO_NAMESPACES = "no-namespaces.conf"


_PACKAGE = Path(__file__).resolve().parents[2]


_PLACES = (_PACKAGE / "units", _PACKAGE.parents[1] / "systemd")
"""Of an installed package, and of a checkout."""


_DROP_IN = "50-flwr-telemetry-no-namespaces.conf"


def shipped(name: str) -> str:
    """The text of a unit as we ship it.

    Raises:
        FileNotFoundError: this installation lacks it.
    """
    for place in _PLACES:
        if (path := place / name).is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(2, "this installation lacks a file of its own", str(_PLACES[0] / name))


def unit_directory(environ: Mapping[str, str], searched: str) -> Path:
    """Where the user's own units are.

    Args:
        environ: this process's variables.
        searched: where the manager looks, as it says itself; this process may have another XDG_CONFIG_HOME.
    """
    usual = Path(environ.get("HOME") or os.path.expanduser("~")) / ".config/systemd/user"
    if configured := environ.get("XDG_CONFIG_HOME"):
        chosen = Path(configured) / "systemd/user"
        if not searched or str(chosen) in searched:
            return chosen
    return usual


def drop_in(unit: str) -> str:
    """The name, below that directory, of what makes a unit do without namespaces."""
    return f"{unit}.d/{_DROP_IN}"


def all_files() -> tuple[str, ...]:
    """Whatever we ever write, by its name below that directory; units before what they start."""
    return (TIMER, SERVICE, ONCE, drop_in(SERVICE), drop_in(ONCE))
