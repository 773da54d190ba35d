"""``flwr-telemetry``, the command for people, with one file for each command.

In:    a command line, and the environment.
Out:   text or JSON on standard output, errors on standard error, and an exit code.
Owns:  no file. ``run`` and ``fields --new`` write ``telemetry/noticed``, and ``view`` writes its page.
Never: prints a traceback for wrong input.

Only ``main`` loads the commands. It executes ``run`` without typer, because ``run`` starts trainings. In a
fresh environment of Flower 1.8 to 1.18, typer does not work with its click. There every other command says
which click to install.
"""

from __future__ import annotations

import os
import sys

from ..errors import ExitCode


def main() -> None:
    """Run the command, and end the process with its exit code."""
    from flwr_telemetry import flower, system

    from . import run

    system.retry_busy_files()
    run.prepare_streams()
    if command := run.command_of(sys.argv[1:]):
        sys.exit(run.run_command(command, os.environ))
    if not flower.is_supported():
        sys.stderr.write("flwr-telemetry: works on Linux, macOS and Windows only\n")
        sys.exit(ExitCode.UNUSABLE)
    if misfit := _misfit():
        sys.stderr.write(f"flwr-telemetry: {misfit}\n")
        sys.exit(ExitCode.UNUSABLE)
    from .app import app

    app(prog_name="flwr-telemetry")


def _misfit() -> str | None:
    """The error message if the installed typer does not work with the installed click; else None.

    click 8.2 gave ``make_metavar`` an argument, and typer 0.16 was the first to pass it. With an older typer
    ``--help`` fails, and with click 8.3 flags count as given although they are not.
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
        f"typer {typer.__version__} does not work with this newer click (nor does Flower's own command): "
        "run pip install 'click<8.2'. `flwr-telemetry run` and the sidecar work without it"
    )
