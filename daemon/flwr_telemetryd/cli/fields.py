"""``flwr-telemetry fields``: every field that can leave the machine, and why."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
from typing import TYPE_CHECKING, Any

from . import output
from .output import HomeOption, JsonOption

if TYPE_CHECKING:
    from rich.text import Text

    from flwr_telemetry.context import Field

_INDENT = 2


def fields(*, json: JsonOption = False, home: HomeOption = None) -> None:
    r"""Show every field that can leave this machine: its type, an example from here, and why.

    No event that Flower reports from here has a field that is not in this list. The names are paths in
    the JSON that is sent. This works with telemetry switched off, too; no file is written, no event sent.

    \b
    Examples:
      flwr-telemetry fields
      flwr-telemetry fields --json
    """
    from ..clock import Clock
    from ..inspect.fields import examples

    found = examples(output.find_home(home), os.environ, Clock())
    table = [
        {"name": field.name, "type": field.kind, "example": example, "why": field.why}
        for field, example in found
    ]
    output.answer(table, lambda: _tell(found), as_json=json)


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
