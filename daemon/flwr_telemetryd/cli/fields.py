"""``flwr-telemetry fields``: every field that can leave the machine, and why."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from . import output
from .inspect import AsChoice
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from rich.text import Text

    from flwr_telemetry.context import Field
    from flwr_telemetry.layout import Home

_INDENT = 2


def fields(
    *,
    new: Annotated[
        bool, Option("--new", help="Only those that are new since you were told; then they count as seen.")
    ] = False,
    as_format: Annotated[
        AsChoice, Option("--as", help="otlp: show where each field stands in OTLP.")
    ] = AsChoice.flower,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    r"""Show every field that can leave this machine: its type, an example from here, and why.

    No event that Flower reports from here has a field that is not in this list. The names are paths in
    the JSON that is sent. This works with telemetry switched off, too; no file is written, no event sent.

    \b
    Examples:
      flwr-telemetry fields
      flwr-telemetry fields --json
      flwr-telemetry fields --new
      flwr-telemetry fields --as otlp
    """
    if as_format is AsChoice.otlp:
        _show_mapping(as_json=json)
        return
    from ..clock import Clock
    from ..inspect.fields import examples
    from ..inspect.status import new_fields

    chosen = output.find_home(home)
    found = examples(chosen, os.environ, Clock())
    if new:
        names = new_fields(chosen)
        found = [(field, example) for field, example in found if field.name in names]
    table = [
        {"name": field.name, "type": field.kind, "example": example, "why": field.why}
        for field, example in found
    ]
    if new and not found:
        output.answer(
            table, lambda: output.say("No field is new since you were told of the list."), as_json=json
        )
        return
    output.answer(table, lambda: _tell(found), as_json=json)
    if new:
        _note_as_seen(chosen)


def _show_mapping(*, as_json: bool) -> None:
    """Show where each field stands in OTLP."""
    from rich.text import Text

    from ..delivery.otlp import MAPPING

    def tell() -> None:
        for row in MAPPING:
            line = Text.assemble((row.name, "bold"), (f"  {row.place}", "dim"))
            output.console().print(line, soft_wrap=True)
            note = row.note.replace("`", "")
            _indented(Text(": ".join(filter(None, (row.field, note)))))

    table = [{"name": row.name, "place": row.place, "field": row.field, "note": row.note} for row in MAPPING]
    output.answer(table, tell, as_json=as_json)


def _note_as_seen(home: "Home") -> None:
    """Note that a person has looked at all fields, unless telemetry is off: then nothing is written."""
    from flwr_telemetry import context, files, settings

    if settings.load(home, os.environ).consent.enabled and home.noticed.exists():
        files.replace_bytes(home.noticed, context.notice())


def _tell(found: "list[tuple[Field, Any]]") -> None:
    from rich.text import Text

    from flwr_telemetry.version import __version__

    out = output.console()
    group = None
    for field, example in found:
        if group not in {None, field.name.rpartition(".")[0]}:
            output.say()  # for example between context.hw and context.platform
        group = field.name.rpartition(".")[0]
        out.print(Text.assemble((field.name, "bold"), (f"  {field.kind}", "dim")), soft_wrap=True)
        value = Text(output.plain(json_format.dumps(example)), "cyan")
        _indented(Text("not reported from this environment", "dim") if example is None else value)
        _indented(Text(field.why))
    output.say(
        "\nEach request is a POST of this JSON. Its headers are Host, Content-Type, Content-Length, "
        "Accept-Encoding, Idempotency-Key (the SHA-256 of the body, or of a part of a refused one) and "
        f"User-Agent: flwr-telemetry/{__version__}."
    )


def _indented(text: "Text") -> None:
    """Print an indented text. A terminal indents each line that it folds the text to."""
    from rich.padding import Padding

    out = output.console()
    if out.is_terminal:
        out.print(Padding(text, (0, 0, 0, _INDENT)))
    else:
        output.say(" " * _INDENT + text.plain)
