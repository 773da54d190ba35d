"""All commands under their names; errors and exit codes.

An error of any command becomes one sentence on standard error and an exit code of ``ExitCode``; no user input
and no content of a home leads to a traceback. A command gives its exit code as its return value. It imports
the packages that it needs when it runs, so that every command starts fast.
"""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.version import described

from ..errors import AnotherRelayError, DemoError, ExitCode, ServiceError, SidecarError, describe
from . import (
    config,
    demo,
    doctor,
    fields,
    flush,
    inspect,
    output,
    purge,
    relay,
    service,
    source,
    status,
    switch,
    view,
)
from . import (
    help as help_command,
)
from .run import prepare_streams, run_command

if TYPE_CHECKING:
    import click

_UMASK = "flwr-telemetry.umask"

EXIT_INTERRUPTED = 130
"""The exit code by which a shell reports Ctrl-C."""

_EXIT_CODES: dict[type[Exception], ExitCode] = {
    ServiceError: ExitCode.UNDELIVERED,
    DemoError: ExitCode.UNDELIVERED,
    AnotherRelayError: ExitCode.BUSY,
}
"""The exit codes of errors, if not ``UNUSABLE``."""


class _Group(output.Group):
    has_all_commands = True
    """See ``output.all_commands``."""

    def main(self, *, standalone_mode: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Run the command. An error of usage is one line, because a box breaks long words."""
        import click

        try:
            code = super().main(standalone_mode=False, **options)
        except click.UsageError as error:
            if not standalone_mode:
                raise
            # Both typer and click may ask what was meant.
            said = re.sub(r"( ?Did you mean [^?]*\?)\1", r"\1", error.format_message())
            path = error.ctx.command_path if error.ctx is not None else "flwr-telemetry"
            if said:  # otherwise no command was given, and the help was printed
                output.complain(f"{output.ended(said)} See `{path} --help`.")
            sys.exit(error.exit_code)
        except click.ClickException as error:
            output.complain(error.format_message())
            sys.exit(error.exit_code)
        except click.Abort:
            output.complain("aborted")
            sys.exit(1)
        except OSError as error:  # of the text of --help, which is printed before `invoke`
            if not standalone_mode:
                raise
            code = _code_of(error)
        if standalone_mode:
            sys.exit(code or ExitCode.OK)
        return code

    def invoke(self, ctx: "click.Context") -> Any:
        prepare_streams()  # this may be a part of another program
        ctx.meta[_UMASK] = os.umask(0o077)  # the files of every command are private, but those of `run`
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()  # the output may go to a full disk
        except KeyboardInterrupt:
            code = EXIT_INTERRUPTED
        except (TelemetryError, SidecarError, OSError) as error:
            code = _code_of(error)
        return ctx.exit(code or ExitCode.OK)


def _code_of(error: TelemetryError | SidecarError | OSError) -> int:
    """Tell of an error, and give the exit code for it."""
    is_closed = isinstance(error, BrokenPipeError)  # the reader of our output wants no more of it
    if not is_closed:
        output.complain(describe(error, Path("the system")))
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # the flush at the exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK if is_closed else _EXIT_CODES.get(type(error), ExitCode.UNUSABLE)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(
    context: typer.Context,
    command: Annotated[list[str], Argument(metavar="COMMAND...", help="The program and its arguments.")],
) -> int:
    r"""Run a command; every Flower in it reports through this spool.

    The command replaces this process, so it keeps its signals, terminal and exit code. Flower needs no
    change, and sends nothing itself. If telemetry is off, every Flower in the command is off.

    A Python without flwr-telemetry, or with -I, -E or -S, cannot report through the spool: Flower reports
    by itself there. `run` says so if the command starts such a Python.

    \b
    Exit codes: those of the command, or
      126  it cannot be executed
      127  it is not found

    \b
    Examples:
      flwr-telemetry run -- python sim.py
      flwr-telemetry run -- flwr run . local-simulation --stream
    """
    if not command[0]:
        raise typer.BadParameter("a program is missing", param_hint="COMMAND...")
    # `main` has executed what comes by the name flwr-telemetry, so this one is a part of another program.
    os.umask(context.meta[_UMASK])
    return run_command(command, os.environ, output.complain)


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{described('flwr-telemetry')}\n")
        sys.stdout.flush()  # as in `invoke`, which does not run
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        Option("--version", "-V", is_eager=True, callback=_show_version, help="Show the version, and exit."),
    ] = False,
) -> None:
    r"""See and control the anonymous usage metrics that Flower reports from this machine.

    \b
    Examples:
      flwr-telemetry status                on or off and why, and what was sent
      flwr-telemetry fields                every field that is reported, and why
      flwr-telemetry view                  all of that on a page, with a picture
      flwr-telemetry inspect --stage sent  everything that was sent, byte for byte
      flwr-telemetry disable               off, for good
      flwr-telemetry run -- python sim.py  report a Flower app by this spool
      flwr-telemetry service install       deliver for all hosts of a cluster
      flwr-telemetry demo                  see it work, without a network

    \b
    Exit codes:
      0  success                           3  telemetry is off
      1  not all was delivered, or a fault 4  another sidecar or relay is running
      2  wrong usage                       5  the home cannot be used

    Questions, and deletion requests: telemetry@flower.ai, or the channel #telemetry of Flower's Slack.
    """


def _add(panel: str, *commands: Callable[..., int | None], **settings: Any) -> None:
    """Add commands; the help lists them in this order, below the title of their panel."""
    for command in commands:
        output.register(app.command, command, rich_help_panel=panel, **settings)


output.register_group(app, _options)
_add("See", status.status, view.view, inspect.inspect, fields.fields, source.source)
_add("Decide", switch.disable, switch.enable, source.forget, purge.purge)
app.add_typer(config.app, name="config", rich_help_panel="Decide")
_add("Deliver", flush.flush, relay.relay)
_add("Deliver", run, context_settings={"allow_interspersed_args": False})
app.add_typer(service.app, name="service", rich_help_panel="Deliver")
_add("Try and help", demo.demo, doctor.doctor)
_add("Try and help", help_command.help_, name="help")
