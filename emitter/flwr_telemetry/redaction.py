"""Replaces the home directory, the user name and the host name in what an event carries.

Only ``identity_redactor`` asks the system; everything else is pure.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from typing import Any

with contextlib.suppress(ImportError):  # Windows has none
    import pwd

REDACTED = "<redacted>"

# Names that are ordinary words ("flower", "server") identify no person, and replacing them would spoil the
# details. They are replaced only inside a path. So is a name of one or two letters.
COMMON_NAMES = frozenset(
    "admin administrator app client daemon data debian default docker flower flwr guest home host "
    "jovyan local localhost localdomain machine main nobody node none null python ray root server "
    "test tests user users ubuntu vagrant worker www-data".split()
)
_SHORTEST_NAME = 3

_LOGIN_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""The variables that ``getpass.getuser()`` reads before the password entry; its import would be expensive."""

# Letters beyond ASCII that a case-insensitive search takes for ASCII ones: the Kelvin sign, the long s, the I
# with a dot and the i without one.
_FOLDING = tuple(letter.encode() for letter in "\u212a\u017f\u0130\u0131")


class Redactor:
    """Replaces names and paths that identify the user or the host.

    Args:
        names: user and host names.
        directories: home directories.
    """

    def __init__(self, names: Iterable[str], directories: Iterable[str]) -> None:
        everywhere = {name for name in names if _is_telling(name)}
        in_paths = {name for name in names if name} - everywhere
        patterns = [
            # A path counts wherever it stands, unless the next character belongs to its last part.
            rf"{re.escape(path)}(?![\w-])"
            for path in sorted(set(directories), key=len, reverse=True)
            if path not in {"", "/", "\\"}
        ]
        patterns += [rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for name in _longest_first(everywhere)]
        patterns += [
            rf"(?<=[/\\]){re.escape(name)}(?![\w.-])|(?<![\w.-]){re.escape(name)}(?=[/\\])"
            for name in _longest_first(in_paths)
        ]
        self._pattern = "|".join(patterns)
        needles = {*everywhere, *in_paths, *directories} - {"", "/"}
        # A cheap search in the packed bytes spares most events the regular expression. bytes.lower() changes
        # ASCII letters only.
        self._needles = (*(needle.lower().encode(errors="surrogateescape") for needle in needles), *_FOLDING)
        self._ascii = all(needle.isascii() for needle in needles)

    def may_hold(self, packed: bytes) -> bool:
        """False only if nothing in the packed details has to be replaced."""
        if not self._pattern:
            return False
        if not self._ascii:
            return True
        lowered = packed.lower()
        return any(needle in lowered for needle in self._needles)

    def redact(self, value: Any) -> Any:
        """``value`` with every name and path in its strings, keys too, replaced by ``<redacted>``.

        Only for details that ``may_hold`` one.
        """
        if isinstance(value, str):
            # `re` caches the compiled pattern. Hardly any event needs it, so it is not compiled in advance.
            return re.sub(self._pattern, REDACTED, value, flags=re.IGNORECASE)
        if isinstance(value, dict):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return value


def _is_telling(name: str) -> bool:
    return len(name) >= _SHORTEST_NAME and name.lower() not in COMMON_NAMES


def _longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (-len(name), name))


def identity_redactor() -> Redactor:
    """A redactor for this user on this host, by the environment and the password entry."""
    node = os.uname().nodename
    names, directories = {node, node.partition(".")[0]}, {os.path.expanduser("~")}
    name = next(filter(None, map(os.environ.get, _LOGIN_VARIABLES)), "")
    with contextlib.suppress(KeyError, NameError):  # no such entry; no such database
        names.add(name or pwd.getpwuid(os.getuid()).pw_name)
    with contextlib.suppress(KeyError, NameError):
        entry = pwd.getpwuid(os.geteuid())
        names.add(entry.pw_name)
        directories.add(entry.pw_dir)
    directories |= {os.path.realpath(path) for path in directories}
    directories.discard("~")
    return Redactor(names, {path.rstrip("/") for path in directories})
