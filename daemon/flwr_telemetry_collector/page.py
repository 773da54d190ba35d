"""The report as a page: one file, no script, nothing loaded, plots in SVG. Also the report as text. Pure.

All elements are made by ``xml.etree``, which escapes every text and every attribute. The policy of the page
forbids scripts, and every style but its own.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Iterator
from importlib import resources
from xml.etree import ElementTree as ET

from .questions import FEW, Answer, Report, Row, Shown, figure_of

_LABEL_PERCENT, _BAR_PERCENT = 34.0, 56.0
_ROW_PX, _BAR_PX = 30, 16
_STACK_PX, _STACK_LEFT, _STACK_WIDTH = 180, 1.0, 98.0
_COLOURS = 9
_TITLE = "How Flower is used"
_PROMISE = (
    f'A figure of fewer than 5 sources is told as "{FEW}", and all others are rounded to fives. '
    "So no difference of two figures tells a small one."
)


def _element(name: str, /, *children: ET.Element | str, **attributes: str) -> ET.Element:
    """An element; a name may end with ``_``, and ``_`` inside it is written as ``-``."""
    made = ET.Element(name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    last: ET.Element | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                made.text = (made.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        else:
            made.append(child)
            last = child
    return made


@functools.cache
def _style() -> str:
    return resources.files(__package__ or "").joinpath("report.css").read_text(encoding="utf-8")


@functools.cache
def policy() -> str:
    """The content security policy of the page."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def render(report: Report) -> bytes:
    """The page as HTML in UTF-8."""
    head = _element(
        "head",
        _element("meta", charset="utf-8"),
        _element("meta", http_equiv="Content-Security-Policy", content=policy()),
        _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _element("meta", name="referrer", content="no-referrer"),
        _element("title", _TITLE),
        _element("style", _style()),
    )
    header = _element(
        "header",
        _element("h1", _TITLE),
        _element("p", _summary(report), class_="soft"),
        _element("p", _PROMISE, class_="soft"),
    )
    main = _element("main", *map(_section, report.answers))
    foot = "Made by flwr-telemetry-collector. This page loads nothing and sends nothing."
    body = _element("body", header, main, _element("footer", _element("p", foot)))
    made = ET.tostring(_element("html", head, body, lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{made}\n".encode()


def _summary(report: Report) -> str:
    since = f"from {report.since} " if report.since else ""
    events = "" if report.events == FEW else f", about {report.events} events"
    return f"What was received {since}to {report.until} (UTC): {report.sources} sources{events}."


def _section(answer: Answer) -> ET.Element:
    parts = [_element("h2", answer.question)]
    if not answer.rows or all(cell == FEW for row in answer.rows for cell in row.cells):
        parts.append(_element("p", "There are too few sources to tell.", class_="soft"))
    else:
        drawn = _stacks(answer) if answer.name == "versions" else _bars(answer)
        parts.append(_element("figure", *drawn))
    if answer.note:
        parts.append(_element("p", answer.note, class_="soft"))
    if answer.rows:
        shown = _element("details", _element("summary", "The figures as a table"), _table(answer))
        parts.append(shown)
    return _element("section", *parts, id=answer.name)


def _told(cell: Shown, unit: str) -> str:
    return f"{cell} %" if unit == "percent" and isinstance(cell, int) else str(cell)


def _table(answer: Answer) -> ET.Element:
    first = {"versions": "Version", "failures": "Sources that"}.get(answer.name)
    heads = _element(
        "tr",
        _element("th", first, scope="col") if first else _element("td"),
        *(_element("th", column, scope="col", class_="number") for column in answer.columns),
    )
    rows = [
        _element(
            "tr",
            _element("th", row.label, scope="row"),
            *(_element("td", _told(cell, answer.unit), class_="number") for cell in row.cells),
        )
        for row in answer.rows
    ]
    table = _element("table", _element("thead", heads), _element("tbody", *rows))
    name = f"Table: {answer.question}"
    return _element("div", table, class_="table", tabindex="0", role="region", aria_label=name)


def _bars(answer: Answer) -> Iterator[ET.Element]:
    """A bar for each cell, or for the first cell of each row of shares."""
    if answer.unit == "percent" or len(answer.columns) == 1:
        bars = [(row.label, row.cells[0]) for row in answer.rows]
    else:
        bars = [
            (f"{row.label}, {column}", cell)
            for row in answer.rows
            for column, cell in zip(answer.columns, row.cells, strict=True)
        ]
    most = 100 if answer.unit == "percent" else max(figure_of(cell) for _, cell in bars)
    parts = [_element("title", f"{answer.question} The table below says the same.")]
    for number, (label, cell) in enumerate(bars):
        y = number * _ROW_PX
        middle = str(y + _BAR_PX - 2)
        width = _BAR_PERCENT * figure_of(cell) / most
        parts.append(_element("text", label, x=f"{_LABEL_PERCENT - 1}%", y=middle, class_="label"))
        if width:
            at, size = f"{_LABEL_PERCENT}%", str(_BAR_PX)
            parts.append(_element("rect", x=at, y=str(y), width=f"{width:.2f}%", height=size, class_="bar"))
        told = _element("text", _told(cell, answer.unit), x=f"{_LABEL_PERCENT + width + 1:.2f}%", y=middle)
        parts.append(told)
    yield _svg(parts, len(bars) * _ROW_PX)


def _stacks(answer: Answer) -> Iterator[ET.Element]:
    """A column of rectangles for each part of the time, one for each version."""
    heights = [
        sum(map(figure_of, column)) for column in zip(*(row.cells for row in answer.rows), strict=True)
    ]
    most = max(*heights, 1)
    step = _STACK_WIDTH / len(answer.columns)
    parts = [_element("title", f"{answer.question} The table below says the same.")]
    for place, begin in enumerate(answer.columns):
        y = float(_STACK_PX)
        for number, row in enumerate(answer.rows):
            height = _STACK_PX * figure_of(row.cells[place]) / most
            if height:
                y -= height
                told = _element("title", f"{begin}: {row.label}, {row.cells[place]} sources")
                parts.append(
                    _element(
                        "rect",
                        told,
                        x=f"{_STACK_LEFT + place * step:.2f}%",
                        width=f"{step * 0.86:.2f}%",
                        y=f"{y:.1f}",
                        height=f"{height:.1f}",
                        class_=f"c{number % _COLOURS}",
                    )
                )
    yield _svg(parts, _STACK_PX)
    ends = dict.fromkeys((answer.columns[0], answer.columns[-1]))
    yield _element("p", *(_element("span", day) for day in ends), class_="scale")
    yield _element("ul", *map(_key, range(len(answer.rows)), answer.rows), class_="legend")


def _key(number: int, row: Row) -> ET.Element:
    square = _element("rect", width="12", height="12", class_=f"c{number % _COLOURS}")
    drawn = _element("svg", square, width="12", height="12", aria_hidden="true", class_="key")
    return _element("li", drawn, row.label)


def _svg(parts: Iterable[ET.Element], height: int) -> ET.Element:
    return _element("svg", *parts, width="100%", height=str(height), role="img")


def as_text(report: Report) -> str:
    """The report for a terminal."""
    lines = [_summary(report), _PROMISE]
    for answer in report.answers:
        lines += ["", answer.question]
        if not answer.rows:
            lines.append("  Nothing was received.")
            continue
        width = max(len(row.label) for row in answer.rows) + 2
        columns = answer.columns[-6:] if answer.name == "versions" else answer.columns
        widths = [max(8, len(column) + 2) if len(columns) > 1 else 8 for column in columns]
        if len(columns) > 1:
            heads = "".join(map(str.rjust, columns, widths))
            lines.append(f"  {'':<{width}}{heads}")
        for row in answer.rows:
            cells = [_told(cell, answer.unit) for cell in row.cells[-len(columns) :]]
            lines.append(f"  {row.label:<{width}}{''.join(map(str.rjust, cells, widths))}")
        if answer.note:
            lines.append(f"  {answer.note}")
    return "".join(f"{line}\n" for line in lines)
