"""The text of a unit: that which we ship, with what this machine needs filled in. Pure.

Systemd reads paths by three grammars: a command line knows quotes, C escapes, ``%`` and ``$``; a variable
the first three; a list of paths quotes, plain escapes and ``%``. Nothing else may spell one into a unit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import ServiceError
from .needs import Needs

_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOTE = "# It serves "
_HOST = "ConditionHost=|"
_STRANGE = set("\"'\\")


def render(shipped: str, needs: Needs, hosts: Iterable[str] = ()) -> str:
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


def _variables(needs: Needs) -> list[str]:
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
