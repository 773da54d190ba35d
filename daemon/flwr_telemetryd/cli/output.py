"""Output of the commands: JSON for programs, sentences and tables for people, errors in one line.

With ``--json``, standard output holds nothing but JSON. Errors and progress go to standard error. Text that
came from a file is printed only after its control characters are replaced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperCommand, TyperGroup

from flwr_telemetry.layout import Home, home_directory

from ..errors import ExitCode, UnusableHomeError
from ..inspect.words import ended as ended  # noqa: PLC0414 - every command uses it from here
from ..inspect.words import sentence

if TYPE_CHECKING:
    from click import Context
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from ..inspect.flower import FlowerView
    from ..outbox.backlog import Backlog

OptionalText = Optional[str]  # noqa: UP045 - typer 0.9 does not know the newer form
HomeOption = Annotated[
    OptionalText, typer.Option(metavar="DIR", help="A .flwr directory; else FLWR_HOME, else ~/.flwr.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

NAME = "flwr-telemetry"
"""The name of the command under which all others are, unless another program has taken them in."""

_NAME_WIDTH = 15
_STEPS = ((60, "s", 1), (3600, "min", 60), (2 * 86400, "h", 3600), (float("inf"), "days", 86400))
_SIZES = ("B", "KiB", "MiB", "GiB")
_KIB = 1024
_COLUMNS = "·▁▂▃▄▅▆▇█"
_ASCII_COLUMNS = ".,:-=+*%#"


class _AsCalled:
    """A command whose help is ``as_called``."""

    _help: str | None = None

    @property
    def help(self) -> str | None:
        return self._help and as_called(self._help)

    @help.setter  # noqa: A003 - click reads and writes it under this name
    def help(self, text: str | None) -> None:
        self._help = text


class Command(_AsCalled, TyperCommand):
    """A command."""


class Group(_AsCalled, TyperGroup):
    """A command with commands below it."""


def register(add: Callable[..., Any], command: Callable[..., int | None], **settings: Any) -> None:
    """Add a command to an app by ``app.command``, with its docstring as the help."""
    add(help=help_text(command.__doc__ or ""), cls=Command, **settings)(command)


def register_group(app: typer.Typer, callback: Callable[..., int | None], **settings: Any) -> None:
    """Give an app its callback, with the docstring of that as the help of the whole."""
    app.callback(help=help_text(callback.__doc__ or ""), **settings)(callback)


def help_text(text: str) -> str:
    r"""A docstring as a help text: one line for each paragraph, except for those that begin with ``\\b``.

    Some releases of typer break lines where the source does, in addition to where the terminal does.
    """
    paragraphs = inspect.cleandoc(text).replace("\\b\n", "\b\n").split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else part.replace("\n", " ") for part in paragraphs)


def find_home(chosen: str | None) -> Home:
    """The home that a command works on; from now on the process ends if its file server does not answer.

    Raises:
        UnusableHomeError: the file server of a shared home does not answer.
        HomeUnavailableError, typer.BadParameter: as ``name_home``.
    """
    from ..inspect import file_server

    found = name_home(chosen)
    file_server.check(found.path, _give_up)
    return found


def _give_up(problem: str) -> None:
    """End the process at once, because its main thread may wait for the server for ever."""
    complain(problem, "not all was done; run the command again when the server answers")
    sys.stderr.flush()
    os._exit(ExitCode.UNUSABLE)


def name_home(chosen: str | None) -> Home:
    """The home that a command is about.

    Raises:
        HomeUnavailableError: neither ``--home`` nor the environment names one.
        typer.BadParameter: ``--home`` is empty, for example from an unset variable.
    """
    if chosen is None:
        return Home(home_directory(os.environ))
    if not chosen or "\0" in chosen:
        raise typer.BadParameter("the name of a directory is needed", param_hint="'--home'")
    return Home(home_directory({"FLWR_HOME": chosen}))


def home_to_deliver(chosen: str | None, timeout_s: float) -> Home:
    """The home that a command delivers, after a check that it is safe.

    Raises:
        UnusableHomeError: a file or directory in it is not surely the user's own; and as ``find_home``.
        typer.BadParameter: ``timeout_s`` is not a number; and as ``find_home``.
    """
    from ..inspect import problems

    if math.isnan(timeout_s):
        raise typer.BadParameter("a number of seconds is needed", param_hint="'--timeout'")
    found = find_home(chosen)
    for problem in problems.unsafe(found):
        raise UnusableHomeError(problem)
    return found


@functools.cache
def console(*, to_stderr: bool = False) -> Console:
    """The console of a stream. It highlights nothing, and reads no markup in what it prints."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # as older releases do, so that the command decides what it means

    return Plain(stderr=to_stderr, highlight=False, markup=False, emoji=False)


def say(text: str = "", style: str | None = None, *, to_stderr: bool = False) -> None:
    """Print a line. A terminal wraps it at words, and a pipe gets it whole."""
    out = console(to_stderr=to_stderr)
    out.print(plain(text), style=style, soft_wrap=not out.is_terminal)


def rows(table: dict[str, str]) -> None:
    """Print names with their values, but no empty value."""
    from rich.text import Text

    pairs([(Text(name, "dim"), Text(plain(value))) for name, value in table.items() if value], _NAME_WIDTH)


def pairs(table: Iterable[tuple[Text, Text]], width: int) -> None:
    """Print two columns, the first of a fixed width. A terminal folds the texts of the second."""
    from rich.table import Table

    out = console()
    if not out.is_terminal:
        for name, value in table:
            say(f"{name.plain:<{width}}{value.plain}")
        return
    grid = Table.grid()
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    for row in table:
        grid.add_row(*row)
    out.print(grid)


def say_consent(*, enabled: bool, reason: str, change: str) -> None:
    """Say whether telemetry is on, why, and what would change that."""
    say(f"Telemetry is {'on' if enabled else 'off'}: {ended(reason)}", "bold")
    say(change)


def say_flower(view: FlowerView) -> None:
    """Say whether Flower is adopted here, and which line reaches it if telemetry's setting does not."""
    say(f"{ended(view.found)} {sentence(view.advice)}".rstrip())


def complain(*texts: str) -> None:
    """Print each text as one line on standard error."""
    context = all_commands()
    name = context.command_path if context else NAME
    for text in texts:
        sys.stderr.write(f"{name}: {' '.join(plain(text).splitlines())}\n")


def answer(value: Any, tell: Callable[[], None], *, as_json: bool) -> None:
    """Print the result of a command: as one JSON value, or by a function that tells it to people."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    else:
        tell()


def confirms(question: str, *, yes: bool) -> bool:
    """Whether a person agrees, by ``--yes`` or at the terminal; raises typer.BadParameter without either."""
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise typer.BadParameter("without a terminal for the question, it is needed", param_hint="'--yes'")
    if not yes and not typer.confirm(question, err=True):
        complain("nothing was changed")
        return False
    return True


def print_raw(line: bytes) -> None:
    """Print one line, byte for byte."""
    sys.stdout.buffer.write(line + b"\n")


def all_commands() -> Context | None:
    """The context of the group that holds all commands; None where no command runs."""
    from click import get_current_context

    context = get_current_context(silent=True)
    while context is not None and not getattr(context.command, "has_all_commands", False):
        context = context.parent
    return context


def as_called(text: str) -> str:
    """``text``, in which hints name these commands as they were called, for example ``flwr telemetry``."""
    context = all_commands()
    if context is None or context.command_path == NAME:
        return text
    names = "|".join(context.command.list_commands(context))  # type: ignore[attr-defined]  # of a group
    return re.sub(rf"\b{NAME}(?= (?:{names})\b)", lambda _: context.command_path, text)


def plain(text: str) -> str:
    """``text`` without characters that could control a terminal, with hints ``as_called``."""
    text = as_called(text)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def progress() -> Progress:
    """Progress bars on standard error, which vanish at the end; nothing if that is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    out = console(to_stderr=True)
    out.quiet = not out.is_terminal  # old releases of rich end even a disabled bar with a newline
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[label]}"))
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


def bar(bars: Progress, name: str) -> Callable[[float, float, str], None]:
    """Add a bar, and give the function that sets it: what is done, of how much, and the text beside it."""
    task = bars.add_task(name, total=None, label="")
    return lambda done, total, label: bars.update(task, completed=done, total=total, label=label)


@contextlib.contextmanager
def working(name: str) -> Iterator[None]:
    """Show a bar that moves while something runs of which nobody knows the length."""
    with progress() as bars:
        bar(bars, name)
        yield


def backlog_bar(bars: Progress, name: str) -> Callable[[Backlog], None]:
    """As ``bar``, for the share of the largest backlog so far that is delivered."""
    most, show = 0, bar(bars, name)

    def show_left(left: Backlog) -> None:
        nonlocal most
        most = max(most, left.events)
        show(most - left.events, most, f"{number(left.events, 'event')} left")

    return show_left


def columns(counts: list[int]) -> str:
    """A character for each count, as high as its share of the largest one; only 0 gets the lowest."""
    shapes = _ASCII_COLUMNS if console().options.ascii_only else _COLUMNS
    most = max(*counts, 1)
    return "".join(shapes[-(-count * (len(shapes) - 1) // most)] for count in counts)


def span(seconds: float) -> str:
    """A length of time in words, roughly: ``12 s``, ``3 min``, ``5 h``, ``4 days``."""
    seconds = max(seconds, 0)
    for below, unit, unit_s in _STEPS:
        if seconds < below:
            return f"{seconds // unit_s:.0f} {unit}"
    return ""


def ago(moment: str) -> str:
    """``12 s ago``, ``just now`` or ``in 3 s`` for an ISO 8601 date; any other text unchanged."""
    try:
        past_s = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (TypeError, ValueError):
        return moment
    if abs(past_s) < 1:
        return "just now"
    return f"{span(past_s)} ago" if past_s >= 0 else f"in {span(-past_s)}"


def size(count: float) -> str:
    """``9.1 KiB`` for a number of bytes."""
    for unit in _SIZES[:-1]:
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} {_SIZES[-1]}"


def number(count: int, one: str, many: str | None = None) -> str:
    """``1 body``, ``2 bodies``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
