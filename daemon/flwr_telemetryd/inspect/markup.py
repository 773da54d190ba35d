"""HTML into which nothing can be injected: all text is escaped, unless this module made it. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable

_LAYOUT = {"\n", "\t"}
_VOID = frozenset({"meta"})


class Html(str):
    """Markup. Only the functions of this module make it."""

    __slots__ = ()


def text(value: str) -> Html:
    """Text as HTML. Control characters, bidi marks and lone surrogates become U+FFFD."""
    if not value.isprintable():
        value = "".join(
            character if character.isprintable() or character in _LAYOUT else "\ufffd" for character in value
        )
    return Html(html.escape(value, quote=True))


def prose(value: str) -> Html:
    """Sentences in which what stands between two backticks is a command."""
    parts = value.split("`")
    if len(parts) % 2 == 0:  # a backtick of a path, perhaps
        return text(value)
    return join(element("code", part) if number % 2 else text(part) for number, part in enumerate(parts))


def element(name: str, content: str, **attributes: str) -> Html:
    """An element. Content that is no ``Html`` is escaped, and so is every value of an attribute.

    A name may end with ``_`` (``class_``), and ``_`` inside it is written as ``-``.
    """
    inner = content if isinstance(content, Html) else text(content)
    shown = "".join(
        f' {attribute.rstrip("_").replace("_", "-")}="{text(value)}"'
        for attribute, value in attributes.items()
    )
    return Html(f"<{name}{shown}>" if name in _VOID else f"<{name}{shown}>{inner}</{name}>")


def join(parts: Iterable[Html]) -> Html:
    """Several parts in a row."""
    return Html("".join(parts))


def table(heads: Iterable[Html], rows: Iterable[Iterable[Html]], caption: str = "") -> Html:
    """A table.

    Args:
        heads: the cells of its first row.
        rows: the cells of each other row.
        caption: a text above it; empty for none.
    """
    above = [element("caption", caption)] if caption else []
    head = element("thead", element("tr", join(heads)))
    body = element("tbody", join(element("tr", join(row)) for row in rows))
    return element("table", join([*above, head, body]))
