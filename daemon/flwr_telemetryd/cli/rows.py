"""The rows of ``inspect``: an event or a body in a table, in CSV, or whole.

A terminal gets the details and the receipt below a row, folded to its width, so that they are seen at any
width. A pipe gets one line for each row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..inspect.words import date_of, local
from . import output

if TYPE_CHECKING:
    from ..inspect.follow import Item

CSV_HEAD = "stage host key when at to reason events event_type event_details".split()

_TYPE_WIDTH = 32
_INDENT = 4
_LEAST_WIDTH = 76
"""A narrower terminal gets the type of an event below its row."""


@dataclass(frozen=True, slots=True)
class Row:
    """An event, or a body with its first event."""

    item: Item
    event: dict[str, Any]
    """The item as JSON, or one event in it."""
    count: int
    """The number of its events."""

    @property
    def when(self) -> str:
        """The date of its first event, as on the wire; all have one form and UTC, so texts sort by time."""
        return date_of(self.event) or "?"

    @property
    def event_type(self) -> str:
        """The type of its events."""
        return str(self.event.get("event_type", "?"))

    @property
    def fate(self) -> str:
        """The fate of a body in words; empty while it waits."""
        stage, receipt = self.item.stage, self.item.receipt
        if stage == "rejected":
            return f"refused: {self.item.reason or 'the reason is missing'}"
        if stage != "sent":
            return ""
        if receipt is None:
            return "sent; there is no receipt of when and to which address"
        if receipt.to == "nowhere":
            return f"kept here since {local(receipt.at)}, never sent"
        return f"sent {local(receipt.at)} to {receipt.to}"


class Table:
    """A table of fixed columns, so that each row is printed at once."""

    def __init__(self) -> None:
        self._out = output.console()
        self._rows = 0

    def show(self, row: Row) -> None:
        """Print a row, and before the first one the head."""
        is_terminal, width = self._out.is_terminal, self._out.width
        is_narrow = is_terminal and width < _LEAST_WIDTH
        if not self._rows:
            names = ("EVENT TYPE" * (not is_narrow), "DETAILS" * (not is_terminal))
            head = _line("STAGE", "#", "WHEN", "EVENTS", *names)
            self._out.print(head[: width if is_terminal else None], style="bold", soft_wrap=True)
        self._rows += 1
        cells = (row.item.stage, str(self._rows), local(row.when), str(row.count))
        write = self._out.file.write  # much faster than `print`: a spool may hold 100,000 events
        if not is_terminal:
            fate = f"  ({row.fate})" if row.fate else ""
            write(_line(*cells, row.event_type, details_of(row.event) + fate) + "\n")
            return
        write(_line(*cells, "" if is_narrow else row.event_type)[:width].rstrip() + "\n")
        for text in filter(None, (row.event_type * is_narrow, details_of(row.event), row.fate)):
            shown, most = output.plain(text), max(width - _INDENT, 1)
            for at in range(0, len(shown), most):
                write(f"{' ' * _INDENT}{shown[at : at + most]}\n")


def say_total(rows: list[Row], nothing: str) -> None:
    """Print how many rows and events there are; ``nothing`` without any."""
    if not rows:
        output.say(nothing)
        return
    events = sum(row.count for row in rows)
    told = f", in {output.number(len(rows), 'row')}" if len(rows) != events else ""
    output.say(f"{output.number(events, 'event')}{told}", "dim")


def _line(*cells: str) -> str:
    stage, number, when, count, event_type, *details = map(output.plain, cells)
    # The end of a type is kept, because it tells ENTER from LEAVE.
    if len(event_type) > _TYPE_WIDTH:
        event_type = f"{event_type[: _TYPE_WIDTH // 2 - 1]}…{event_type[-_TYPE_WIDTH // 2 :]}"
    row = f"{stage:<8} {number:>4}  {when:<19} {count:>6}  {event_type:<{_TYPE_WIDTH}}"
    return "  ".join([row, *filter(None, details)]).rstrip()


def show_body(row: Row) -> None:
    """Print an event or a body whole, in many lines."""
    output.say(f"{row.item.stage}: {row.event_type}, {output.number(row.count, 'event')}", "bold")
    host, key = row.item.host, row.item.key or ""
    output.rows({"Host": host, "Key": key, "Event of": local(row.when), "Delivery": row.fate})
    for line in json.dumps(row.event, indent=2).splitlines():
        output.console().file.write(line + "\n")
    output.say()


def csv_cells(row: Row) -> list[str]:
    """The cells of a row under ``CSV_HEAD``. A cell that a spreadsheet would take for a formula is quoted."""
    item, receipt = row.item, row.item.receipt
    details = json.dumps(row.event.get("event_details"))
    cells = (item.stage, item.host, item.key, row.when, receipt and receipt.at, receipt and receipt.to)
    found = [*cells, item.reason, str(row.count), row.event_type, details]
    return [f"'{cell}" if cell and cell[0] in "=+-@\t\r" else cell or "" for cell in found]


def details_of(event: dict[str, Any]) -> str:
    """The details in JSON, with ``…`` for those that differ within a burst."""
    details, burst = event.get("event_details"), event.get("burst")
    if not isinstance(details, dict):
        return "?"
    varying = burst.get("varying") if isinstance(burst, dict) else None
    varying = varying if isinstance(varying, list) else []
    parts = (
        f"{json.dumps(name)}:{'…' if name in varying else json.dumps(value)}"
        for name, value in details.items()
    )
    return f"{{{', '.join(parts)}}}"
