"""``flwr-telemetry help``: the help of a command, and of what concerns all of them."""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

from typing import Annotated, Optional

import click
import typer
from typer import Argument, BadParameter

from . import output

_TOPICS = {
    "environment": """These variables are read:

  FLWR_TELEMETRY_ENABLED     unset or 1 (also true, yes, on): on; anything else: off
  DO_NOT_TRACK               set, and neither empty nor 0: off, unless FLWR_TELEMETRY_ENABLED=1 is set
  FLWR_TELEMETRY_UPLOAD      set to anything but a yes: collect and show, never send
  FLWR_TELEMETRY_LOGGING     1: log every event, also when telemetry is off
  FLWR_TELEMETRY_PARTNER_ID  a UUID, reported as partner
  FLWR_TELEMETRY_SIDECAR     auto, always or never: may this process start a sidecar; 0: never
  FLWR_HOME                  the directory to use instead of ~/.flwr
  https_proxy, all_proxy, no_proxy, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE
                             the way to the collector, unless the settings name it
  NO_COLOR, COLUMNS          how this command prints""",
    "exit-codes": """A command ends with one of these:

  0  success
  1  something could not be delivered now, and is kept; or a fault, as the command's help says
  2  wrong usage
  3  telemetry is off, or nothing may be sent
  4  another sidecar is running, or another relay of the same file
  5  the home cannot be used, or something could not be deleted

`run` ends with the exit code of its command, with 126 if that cannot be executed, or with 127 if it is not
found.""",
}


def help_(
    context: typer.Context,
    topic: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer 0.9 does not know the newer form
        Argument(metavar="[COMMAND|TOPIC]", help="A command, or: environment, exit-codes."),
    ] = None,
) -> None:
    r"""Show the help of a command, or of what concerns all commands.

    \b
    Examples:
      flwr-telemetry help inspect
      flwr-telemetry help service install
      flwr-telemetry help environment
      flwr-telemetry help exit-codes
    """
    words = topic or []
    if len(words) == 1 and words[0] in _TOPICS:
        output.say(_TOPICS[words[0]])
        return
    root = output.all_commands() or context.find_root()
    command, parent, name = root.command, root.parent, root.info_name or output.NAME
    for word in words:
        commands = getattr(command, "commands", {})
        if word not in commands:
            known = ", ".join([*commands, *(_TOPICS if command is root.command else ())])
            raise BadParameter(f"there is no help on {word!r}; there is on: {known}", param_hint="COMMAND")
        parent = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        command, name = commands[word], word
    command.make_context(name, ["--help"], parent=parent)  # prints the help, and ends
