"""``flwr-telemetry fields``: every field that can leave the machine, and why."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import json as json_format
import os
from typing import TYPE_CHECKING, Any

from .output import HomeOption, JsonOption, console, help_text, plain, print_json, say, the_home

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from flwr_telemetry.context import Field

_INDENT = 2

HELP = help_text("""Show every field that can leave this machine: its type, an example from here, and why.

No event that Flower reports from here says anything that is not in this list. The names are paths in the
JSON that is sent.
It works with telemetry switched off, too; nothing is written or sent.

\b
Examples:
  flwr-telemetry fields
  flwr-telemetry fields --json
""")


def fields(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the declaration, each field with its value on this machine."""
    from ..clock import Clock
    from ..inspect.fields import examples

    found = examples(the_home(home, os.environ), os.environ, Clock())
    if json:
        print_json(
            [
                {"name": field.name, "type": field.kind, "example": example, "why": field.why}
                for field, example in found
            ]
        )
    else:
        _tell(found)


def _tell(found: "list[tuple[Field, Any]]") -> None:
    from rich.text import Text

    from flwr_telemetry.version import __version__

    out = console()
    group = None
    for field, example in found:
        if group not in {None, field.name.rpartition(".")[0]}:
            say(out)  # between context.hw and context.platform, for example
        group = field.name.rpartition(".")[0]
        out.print(Text.assemble((field.name, "bold"), (f"  {field.kind}", "dim")), soft_wrap=True)
        shown = "not reported from this environment" if example is None else plain(json_format.dumps(example))
        _indented(out, Text(shown, style="dim" if example is None else "cyan"))
        _indented(out, Text(field.why))
    say(out)
    say(
        out,
        "Each request is a POST of this JSON. Its headers tell no more: Host, Content-Type, Content-Length, "
        "Accept-Encoding, Idempotency-Key (the SHA-256 of the body, or of a part of a refused one) and "
        f"User-Agent: flwr-telemetry/{__version__}.",
    )


def _indented(out: "Console", text: "Text") -> None:
    """Two characters in; on a terminal each line that it is folded to."""
    from rich.padding import Padding

    if out.is_terminal:
        out.print(Padding(text, (0, 0, 0, _INDENT)))
    else:
        say(out, " " * _INDENT + text.plain)
