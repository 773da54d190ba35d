r"""Replaces the home directory, the user name and the host name in the details and the context of an event.

A name is replaced as a whole token: no letter and no digit may stand beside it. It is found in any of its
usual spellings, for example ``zoé`` in ``ZOE``, in ``zo%C3%A9`` and in ``\nzo\u00e9``; see ``spellings.py``.
That search is slow, so a cheap check first finds the texts that need it. Other encodings, such as base64, are
not decoded.

Only ``identity_redactor`` asks the system; everything else is pure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import ModuleType

from . import mounts, system
from .imports import undisturbed
from .named import Any

REDACTED = "<redacted>"

# Names that are ordinary words ("flower", "server") identify no person, and replacing them would spoil the
# details. They are replaced only inside a path. So is a name of one or two letters.
COMMON_NAMES = frozenset(
    "admin administrator app client daemon darwin data debian default docker flower flwr generic guest home "
    "host jovyan linux local localhost localdomain machine main nobody node none null python ray root server "
    "test tests user users ubuntu vagrant worker www-data".split()
)
_SHORTEST_NAME = 3

_LOGIN_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""The variables that ``getpass.getuser()`` reads before the password entry; its import would be expensive."""

_SLASHES = frozenset("/\\")

_QUOTES = ("%", "\\", "&")
"""A text with one of these may have escapes, which hide the letters of a name."""

_SEPARATORS = "-_. "


class _Secret:
    """A name or a path that must not leave. A plain class, because each first event makes it.

    Args:
        text: in the form that ``spellings.folded`` gives.
        is_path: whether it is a path. It counts anywhere, unless the next character belongs to its last part.
        in_paths: whether it counts only inside a path, because it is short or a common word.
        ends_accented: whether its last letter has an accent.
    """

    __slots__ = ("ends_accented", "in_paths", "is_path", "text")

    def __init__(self, text: str, is_path: bool, in_paths: bool, ends_accented: bool) -> None:
        self.text = text
        self.is_path = is_path
        self.in_paths = in_paths
        self.ends_accented = ends_accented

    def counts(self, before: str, behind: str) -> bool:
        """Whether it is a whole token between these two characters, which may be empty."""
        if self.is_path:
            return not _continues(behind, "_-")
        if not self.in_paths:
            return not (_continues(before) or _continues(behind))
        is_last = before in _SLASHES and not _continues(behind, "_.-")
        return is_last or (behind in _SLASHES and not _continues(before, "_.-"))


def _continues(letter: str, others: str = "") -> bool:
    """Whether a character, which may be empty, belongs to the token beside it."""
    return letter.isalnum() or (letter != "" and letter in others)


class Redactor:
    """Replaces names and paths that identify the user or the host.

    Args:
        names: user and host names.
        directories: home directories.
    """

    def __init__(self, names: Iterable[str], directories: Iterable[str]) -> None:
        found: list[_Secret] = []
        for name in sorted(set(names)):
            found += _secrets(name, in_paths=not _is_telling(name))
        for path in sorted(set(directories)):
            found += _secrets(path, is_path=True)
        self._secrets = [secret for secret in found if secret.text not in _SLASHES]
        # A text without any of these holds no secret, unless it has letters beyond ASCII.
        self._needles = tuple(dict.fromkeys((*_QUOTES, *_needles(self._secrets))))

    def may_hold(self, details: Any) -> bool:
        """False only if nothing in the details has to be replaced."""
        return bool(self._secrets) and self._is_suspect(" ".join(_strings(details)))

    def _is_suspect(self, text: str) -> bool:
        if not (text.isascii() and text.isprintable()):
            return True
        lowered = text.lower()
        for needle in self._needles:  # noqa: SIM110 - `any` costs more than the search
            if needle in lowered:
                return True
        return False

    def redact(self, value: Any) -> Any:
        """``value`` with every name and path in its strings, keys too, replaced by ``<redacted>``."""
        if isinstance(value, str):
            return self._redacted(value) if self._is_suspect(value) else value
        if isinstance(value, dict):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return value

    def _redacted(self, text: str) -> str:
        parts, end = [], 0
        for start, stop in sorted(_spellings().places(text, self._secrets)):
            if start >= end:
                parts += [text[end:start], REDACTED]
            end = max(end, stop)
        return "".join((*parts, text[end:]))


def _is_telling(name: str) -> bool:
    return len(name) >= _SHORTEST_NAME and name.lower() not in COMMON_NAMES


def _secrets(name: str, *, is_path: bool = False, in_paths: bool = False) -> list[_Secret]:
    """The secrets of a name: itself, with other separators between its words, and read in a wrong charset.

    A version or a file name often has other separators: ``carol-laptop`` becomes ``carol.laptop``. In a web
    form, a plus sign stands for a blank.
    """
    if name.isascii():
        text, forms, ends_accented = name.lower(), set[str](), False
    else:
        from . import spellings  # no guard: this runs within that of the first event

        text, ends_accented = spellings.folded(name), spellings.ends_accented(name)
        forms = set(map(spellings.folded, spellings.misread(name)))
    forms.add(text.replace(" ", "+"))
    words = _split(text, _SEPARATORS)
    if not is_path and len(words) > 1:
        forms |= {separator.join(words) for separator in "-_.+"}
    return [_Secret(form, is_path, in_paths, ends_accented) for form in sorted({text, *forms}) if words]


def _split(text: str, separators: str) -> list[str]:
    """The pieces of a text between separators; no regular expression, because compiling one takes long."""
    for separator in separators:
        text = text.replace(separator, " ")
    return text.split()


def _needles(secrets: Iterable[_Secret]) -> Iterator[str]:
    """For each secret, a piece that every ASCII spelling of it has."""
    words = set()
    for secret in secrets:
        if not secret.is_path and not secret.in_paths:
            words.add(max(_split(secret.text, _SEPARATORS), key=len))
    yield from sorted(words)
    for secret in secrets:
        if secret.in_paths:
            yield from (f"/{secret.text}", f"{secret.text}/")
        elif secret.is_path and not any(word in secret.text for word in words):
            yield secret.text


def _strings(value: Any) -> list[str]:
    """All strings in a JSON-like value, keys too."""
    found: list[str] = []
    waiting = [value]
    for container in waiting:  # grows meanwhile
        items = container
        if type(container) is dict:
            found += container
            items = container.values()
        for item in items:
            kind = type(item)
            if kind is str:
                found.append(item)
            elif kind is dict or kind is list:
                waiting.append(item)
    return found


@undisturbed
def _spellings() -> ModuleType:
    from . import spellings

    return spellings


def identity_redactor(table: mounts.Table | None = None) -> Redactor:
    """A redactor for this user on this host, by the environment and the password entry.

    Args:
        table: the table of mounts, if it was read already.
    """
    table = mounts.table() if table is None else table
    login = next(filter(None, map(os.environ.get, _LOGIN_VARIABLES)), "")
    names, directories = system.identity(login)
    # With a directory service, the name may be that of a domain and of a user.
    names |= {part for name in names for part in (name.rpartition("\\")[2], name.partition("@")[0])}
    directories |= {mounts.real(path, table) for path in directories if os.path.isabs(path)}
    directories.discard("~")
    return Redactor(names, {path.rstrip("/\\") for path in directories})
