"""The commands, put together.

One file for each group of commands; here they get their names, and what goes wrong in any of them
becomes one sentence on standard error and an exit code of ``ExitCode``. What a command needs is imported
when it runs, so that all of them start fast.

This room must never show a traceback for what a user typed or what a home holds.
"""

# No postponed annotations in this file: typer 0.9 reads them as they stand.

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flwr_telemetry.errors import TelemetryError, from_os_error
from flwr_telemetry.version import __version__

from ..errors import ExitCode, SidecarError
from . import demo, doctor, fields, flush, inspect, relay, service, source, status, switch
from .output import complain, help_text

if TYPE_CHECKING:
    import click

EXIT_INTERRUPTED = 130
"""As a shell tells of Ctrl-C."""

HELP = help_text("""See and steer the anonymous usage metrics that Flower reports from this machine.

\b
Examples:
  flwr-telemetry status                on or off, and why; what lies where
  flwr-telemetry fields                what can be reported, and why
  flwr-telemetry inspect --stage sent  what was sent, to the last byte
  flwr-telemetry disable               off, for good
  flwr-telemetry run -- python sim.py  report a Flower app through us
  flwr-telemetry service install       on a cluster: deliver for all hosts of this home
  flwr-telemetry demo                  the whole way, on this machine alone

\b
Exit codes:
  0  done                              3  telemetry is off
  1  not all was delivered, or a fault 4  another sidecar is in the way
  2  wrong usage                       5  the home cannot be used

Questions, and deletion requests: telemetry@flower.dev, or the channel #telemetry of Flower's Slack.
""")

RUN_HELP = help_text("""Run a command; every Flower in it reports through us.

It is executed in place of this process: signals, terminal and exit status are its own. Flower needs
no change, and sends nothing itself.

\b
Exit codes: those of the command, or
  126  it cannot be executed
  127  it is not found

\b
Examples:
  flwr-telemetry run -- python sim.py
  flwr-telemetry run -- flwr run . local-simulation --stream
""")


class _Group(TyperGroup):
    def invoke(self, ctx: "click.Context") -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has enough; nothing more is to be said, nor flushed at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ctx.exit(ExitCode.OK)
        except KeyboardInterrupt:
            return ctx.exit(EXIT_INTERRUPTED)
        except (TelemetryError, SidecarError) as error:
            complain(str(error))
        except OSError as error:
            complain(str(from_os_error(error, str(error.filename or "the system"))))
        return ctx.exit(ExitCode.UNUSABLE)


app = typer.Typer(
    cls=_Group,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("status", help=status.HELP)(status.status)
app.command("inspect", help=inspect.HELP)(inspect.inspect)
app.command("flush", help=flush.HELP)(flush.flush)
app.command("relay", help=relay.HELP)(relay.relay)
app.command("disable", help=switch.DISABLE_HELP)(switch.disable)
app.command("enable", help=switch.ENABLE_HELP)(switch.enable)
app.command("fields", help=fields.HELP)(fields.fields)
app.command("source", help=source.SOURCE_HELP)(source.source)
app.command("forget", help=source.FORGET_HELP)(source.forget)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.add_typer(service.app, name="service")
app.command("demo", help=demo.HELP)(demo.demo)


@app.command("run", help=RUN_HELP, context_settings={"allow_interspersed_args": False})
def _run(
    _command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="The program and its arguments.", show_default=False),
    ],
) -> None:
    # Whatever has a program is executed before it comes to this; here are its help and its usage errors.
    raise typer.BadParameter("a program is missing", param_hint="COMMAND...")


def _show_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"flwr-telemetry {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version, and leave."),
    ] = False,
) -> None:
    pass
