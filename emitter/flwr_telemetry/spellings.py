r"""Finds names in any of their usual spellings; ``redaction.py`` replaces them.

A text is searched in several *views*: as it is, and with percent-encoding, escapes of strings, character
references and terminal colours undone, once and repeatedly. Each view knows the positions of its characters
in the text. Views are compared in *folded* form, without differences of case, accents, compatibility forms
and invisible characters.

A text such as ``C:\new\bob`` only seems to hold a code, here a newline. Undoing it does no harm, because the
text itself is a view, too. This module is pure.
"""

from __future__ import annotations

import contextlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from .imports import undisturbed
from .named import NamedTuple, Protocol

_ROUNDS = 5
"""A text that is encoded more often than this is not decoded completely."""

# Patterns are compiled when they are first needed, which takes milliseconds; `re` keeps them then.
_BYTE = r"%[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\[0-3][0-7]{2}"
_UNIT = r"(?:\\|%)u[0-9A-Fa-f]{4}"
_POINT = r"(?:\\u\{|&#[xX])(?P<hexadecimal>[0-9A-Fa-f]{1,6})[};]|\\U00(?P<long>[0-9A-Fa-f]{6})"
_REFERENCE = r"&#(?P<decimal>[0-9]{1,7});|&(?P<name>\w{1,31};)"
_NUMBERS = rf"(?P<bytes>(?:{_BYTE})+)|(?P<units>(?:{_UNIT})+)|{_POINT}|{_REFERENCE}"
"""Codes by number. They hardly ever occur by chance in a path of Windows."""

_ALL = rf"{_NUMBERS}|\\(?P<letter>[abefnrtv0])|\\(?P<sign>\W)"
"""All codes. In a path of Windows, a backslash and a letter only seem to be one, such as a newline."""

_QUOTES = "%&\\"
"""Every code but that of a colour begins with one of these."""

_COLOURS = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\[[0-9;]+m"

_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_FIRST_ACCENT, _LAST_ACCENT = "\u0300", "\u036f"
_MAX_CACHED = 4096


class _Folding(dict[int, str]):
    """The folded form of each character, for ``str.translate``; computed when it is first needed."""

    def __missing__(self, code: int) -> str:
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        text = "".join(letter for letter in text if not _is_accent(letter) and not _is_invisible(letter))
        text = text.replace("\u0131", "i")  # without a dot; its capital is that of the other i
        if len(self) < _MAX_CACHED:
            self[code] = text
        return text


_FOLDING = _Folding()


def folded(text: str) -> str:
    """The form in which texts are compared."""
    return text.translate(_FOLDING)


def ends_accented(name: str) -> bool:
    """Whether the last letter of a name has an accent."""
    return _is_accent(unicodedata.normalize("NFD", name)[-1:])


def misread(name: str) -> Iterator[str]:
    """A name whose bytes in UTF-8 were read in another charset: ``zoÃ©``."""
    for charset in ("latin-1", "cp1252"):
        with contextlib.suppress(UnicodeError):
            yield name.encode().decode(charset)


class Secret(Protocol):
    """A name or a path to search for."""

    @property
    def text(self) -> str:
        """It is in folded form."""

    @property
    def ends_accented(self) -> bool:
        """Whether an accent behind the text belongs to its last letter."""

    def counts(self, before: str, behind: str) -> bool:
        """Whether it counts between these two characters; each may be empty."""


def places(text: str, secrets: Sequence[Secret]) -> set[tuple[int, int]]:
    """The positions of the secrets in a text: pairs of a first index and the index behind the last."""
    return {place for view in _views(text) for place in _places_in(view, secrets)}


class _View(NamedTuple):
    """A text as one kind of reader sees it."""

    text: str
    starts: Sequence[int]
    """For each character, the index in the original text at which its spelling begins."""
    ends: Sequence[int]
    """For each character, the index behind its spelling."""

    def replaced(self, pieces: Iterable[tuple[str, int, int]]) -> _View:
        """Another view with some pieces replaced; each is a new text with its start and end in this view."""
        text, starts, ends, at = [], list[int](), list[int](), 0
        for piece, start, end in pieces:
            if at < start:
                text.append(self.text[at:start])
                starts += self.starts[at:start]
                ends += self.ends[at:start]
            text.append(piece)
            starts += [self.starts[start]] * len(piece)
            ends += [self.ends[end - 1]] * len(piece)
            at = end
        return _View("".join((*text, self.text[at:])), [*starts, *self.starts[at:]], [*ends, *self.ends[at:]])


def _views(text: str) -> list[_View]:
    first = _View(text, range(len(text)), range(1, len(text) + 1))
    found = [first]
    if any(quote in text for quote in _QUOTES):
        found += _undone_repeatedly(first, _NUMBERS)
        if any("\\" in view.text for view in found):
            found += _undone_repeatedly(first, _ALL)
    coloured = [view for view in found if re.search(_COLOURS, view.text)]
    return found + [view.replaced(_without_colours(view.text)) for view in coloured]


def _undone_repeatedly(view: _View, pattern: str) -> Iterator[_View]:
    """A view with codes undone once, twice and so on, until none is left."""
    for _ in range(_ROUNDS):
        if not re.search(pattern, view.text):
            return
        before, view = view, view.replaced(_undone(pattern, view.text))
        if view.text == before.text:
            return
        yield view


def _without_colours(text: str) -> Iterator[tuple[str, int, int]]:
    """Replace each code of a terminal by an invisible character, so that a token may begin behind it."""
    for found in re.finditer(_COLOURS, text):
        yield "\0", *found.span()


def _undone(pattern: str, text: str) -> Iterator[tuple[str, int, int]]:
    for found in re.finditer(pattern, text):
        kind, written, (start, end) = found.lastgroup or "", found[0], found.span()
        if kind == "bytes":
            yield from _from_bytes(written, start)
        elif kind == "units":
            yield from _from_units(written, start)
        elif kind == "letter":
            yield "\n", start, end
        elif kind == "sign":
            yield written[1], start, end
        elif kind == "name":
            yield _references().get(found[kind], written), start, end
        else:
            code = int(found[kind], 10 if kind == "decimal" else 16)
            yield chr(code) if code <= sys.maxunicode else written, start, end


@undisturbed
def _references() -> dict[str, str]:
    from html.entities import html5

    return html5


def _from_bytes(written: str, at: int) -> Iterator[tuple[str, int, int]]:
    """The characters of encoded bytes in UTF-8; a byte that is not UTF-8 counts as Latin-1."""
    tokens = [token.span() for token in re.finditer(_BYTE, written)]
    raw = bytes(
        int(written[end - 3 : end], 8) if written[start + 1].isdigit() and written[start] == "\\" else
        int(written[end - 2 : end], 16)
        for start, end in tokens
    )  # fmt: skip
    first = 0
    for letter in raw.decode("utf-8", "surrogateescape"):
        is_byte = "\udc80" <= letter <= "\udcff"
        last = first + (1 if is_byte else len(letter.encode())) - 1
        yield chr(raw[first]) if is_byte else letter, at + tokens[first][0], at + tokens[last][1]
        first = last + 1


def _from_units(written: str, at: int) -> Iterator[tuple[str, int, int]]:
    """The characters of encoded units of UTF-16."""
    tokens = [token.span() for token in re.finditer(_UNIT, written)]
    units = "".join(chr(int(written[end - 4 : end], 16)) for _, end in tokens)
    first = 0
    for letter in units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"):
        last = first + (letter > "\uffff")
        yield letter, at + tokens[first][0], at + tokens[last][1]
        first = last + 1


def _places_in(view: _View, secrets: Sequence[Secret]) -> Iterator[tuple[int, int]]:
    text = folded(view.text)
    present = [secret for secret in secrets if secret.text in text]
    if not present:
        return
    # Of each folded character, the index of its character in the view.
    origins: Sequence[int] = range(len(text))
    if not (view.text.isascii() and view.text.isprintable()):
        origins = [index for index, letter in enumerate(view.text) for _ in _FOLDING[ord(letter)]]
    for secret in present:
        size, start = len(secret.text), text.find(secret.text)
        while start >= 0:
            end = start + size
            before = behind = ""
            # Between two characters there may be some that folding drops: accents, or the code of a colour.
            if start > 0 and not view.text[origins[start - 1] + 1 : origins[start]]:
                before = text[start - 1]
            if end < len(text):
                dropped = view.text[origins[end - 1] + 1 : origins[end]]
                if not dropped or (secret.ends_accented and all(map(_is_accent, dropped))):
                    behind = text[end]
            if secret.counts(before, behind):
                last = origins[end - 1]
                while last + 1 < len(view.text) and _is_accent(view.text[last + 1]):
                    last += 1
                yield view.starts[origins[start]], view.ends[last]
            start = text.find(secret.text, start + 1)


def _is_accent(letter: str) -> bool:
    return _FIRST_ACCENT <= letter <= _LAST_ACCENT


def _is_invisible(letter: str) -> bool:
    """Whether a reader sees nothing: a joiner, a mark of direction, a control other than white space."""
    kind = unicodedata.category(letter)
    if kind == "Mn":
        return "\ufe00" <= letter <= "\ufe0f" or "\U000e0100" <= letter <= "\U000e01ef" or letter == "\u180f"
    return kind == "Cf" or (kind == "Cc" and not letter.isspace()) or letter in _INVISIBLE_LETTERS
