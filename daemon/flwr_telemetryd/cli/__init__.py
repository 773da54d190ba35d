"""``flwr-telemetry``: the command for people, one file for each group of commands.

``main`` alone loads them, so that a part of this package can be imported without the rest. ``run`` starts
trainings, so it is executed without typer: that may be of a release that its click has outgrown, as it is
in a fresh environment of Flower 1.8 to 1.18. There all other commands say what to do.
"""

from __future__ import annotations

import os
import sys

from ..errors import ExitCode


def main() -> None:
    """Run the command; ends the process with an exit code."""
    if os.name != "posix":
        sys.stderr.write("flwr-telemetry: works on Linux and macOS only\n")
        sys.exit(ExitCode.UNUSABLE)
    from . import run

    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # as whoever started us has closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for our whole life
        elif stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="replace")  # what a terminal does not know is a question mark
    if command := run.command_of(sys.argv[1:]):
        sys.exit(run.run_command(command, os.environ))
    if misfit := _misfit():
        sys.stderr.write(f"flwr-telemetry: {misfit}\n")
        sys.exit(ExitCode.UNUSABLE)
    from .app import app

    app(prog_name="flwr-telemetry")


def _misfit() -> str | None:
    """What keeps typer from working here, if anything does.

    click 8.2 gave ``make_metavar`` an argument, and typer 0.16 was the first to know it. An older typer
    beside it fails at ``--help``, and beside click 8.3 takes flags that were not given for given.
    """
    import inspect

    import click
    import typer.core

    theirs, needed = (
        inspect.signature(kind.make_metavar).parameters for kind in (typer.core.TyperArgument, click.Argument)
    )
    if len(theirs) >= len(needed):
        return None
    return (
        f"typer {typer.__version__} does not work with so new a click (nor does Flower's own command): "
        "install another with pip install 'click<8.2'. `flwr-telemetry run` and the sidecar work as they are"
    )
