"""How the commands speak: JSON for programs, sentences and tables for people, errors in one line.

JSON goes to standard output and nothing else does with it; errors and progress go to standard error.
This room must never print what came from a file without making control characters harmless.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from flwr_telemetry.layout import Home, home_directory

from ..errors import UnusableHomeError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ..outbox.backlog import Backlog

HomeOption = Annotated[
    Optional[str],  # noqa: UP045 - typer 0.9 does not know the newer form
    typer.Option(
        "--home", metavar="DIR", help="A .flwr directory; else FLWR_HOME, else ~/.flwr.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_NAME_WIDTH = 15
_STEPS = ((60, "s", 1), (3600, "min", 60), (2 * 86400, "h", 3600), (float("inf"), "days", 86400))
_SIZES = ("B", "KiB", "MiB", "GiB")
_KIB = 1024


def help_text(text: str) -> str:
    r"""``text`` with each paragraph in one line, but for those that begin with ``\b``.

    Some releases of typer break lines where the source does, on top of where the terminal does.
    """
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else part.replace("\n", " ") for part in paragraphs)


def the_home(chosen: str | None, environ: Mapping[str, str]) -> Home:
    """The home that a command is about.

    Raises:
        HomeUnavailableError: none can be told.
        typer.BadParameter: an empty name, as of a variable that is not set.
    """
    if chosen is None:
        return Home(home_directory(environ))
    if not chosen or "\0" in chosen:
        raise typer.BadParameter("the name of a directory is needed", param_hint="'--home'")
    return Home(home_directory({"FLWR_HOME": chosen}))


def home_to_deliver(chosen: str | None, timeout_s: float) -> Home:
    """The home that a command delivers, which has to be safe; what is made in it is for its owner alone.

    Raises:
        UnusableHomeError: something in it is not surely ours.
        typer.BadParameter: ``timeout_s`` is no number; and as ``the_home``.
    """
    from ..inspect import problems

    if math.isnan(timeout_s):
        raise typer.BadParameter("a number of seconds is needed", param_hint="'--timeout'")
    found = the_home(chosen, os.environ)
    for problem in problems.unsafe(found):
        raise UnusableHomeError(problem)
    os.umask(0o077)
    return found


def console(*, to_stderr: bool = False) -> Console:
    """A console that neither guesses at highlights nor reads markup from what is printed."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # as of older releases: what that means is for the command to say

    return Plain(stderr=to_stderr, highlight=False, markup=False, emoji=False)


def say(out: Console, text: str = "", style: str | None = None) -> None:
    """Print a line; a terminal wraps it at words, a pipe gets it whole."""
    out.print(plain(text), style=style, soft_wrap=not out.is_terminal)


def rows(out: Console, table: dict[str, str]) -> None:
    """Names and what belongs to them; a terminal folds long values beside the names."""
    if not out.is_terminal:
        for name, value in table.items():
            say(out, f"{name:<{_NAME_WIDTH}}{value}")
        return
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_NAME_WIDTH - 2, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in table.items():
        grid.add_row(name, plain(value))
    out.print(grid)


def say_consent(out: Console, *, enabled: bool, reason: str, change: str) -> None:
    """The answer to "is it on, and why?", and what would change it."""
    say(out, f"Telemetry is {'on' if enabled else 'off'}: {ended(reason)}", "bold")
    say(out, change)


def complain(text: str) -> None:
    """One line on standard error."""
    line = " ".join(plain(text).splitlines())
    sys.stderr.write(f"flwr-telemetry: {line}\n")


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_raw(line: bytes) -> None:
    """One line on standard output, byte for byte."""
    sys.stdout.buffer.write(line + b"\n")


def plain(text: str) -> str:
    """``text`` without what could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def ended(sentence: str) -> str:
    """``sentence`` with a full stop, if it has no end yet."""
    return sentence if sentence.endswith((".", "…", "?")) else f"{sentence}."


def progress() -> Progress:
    """A bar on standard error that leaves no trace; nothing where that is no terminal.

    Each task says how far it is in its field ``word``.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    out = console(to_stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[word]}"),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )


def show_left(bar: Progress, task: TaskID, left: Backlog) -> None:
    """Move a bar on to what is left to deliver, of the most that there was."""
    most = max(left.events, bar.tasks[task].total or 0)
    word = f"{number(left.events, 'event')} left"
    bar.update(task, total=most, completed=most - left.events, word=word, visible=True)


def span(seconds: float) -> str:
    """A length of time in words, roughly: ``12 s``, ``3 min``, ``5 h``, ``4 days``."""
    seconds = max(seconds, 0)
    for below, unit, size in _STEPS:
        if seconds < below:
            return f"{seconds // size:.0f} {unit}"
    return ""


def ago(moment: str, now: datetime | None = None) -> str:
    """``12 s ago``, ``just now`` or ``in 3 s`` for an ISO 8601 date; the text itself if it is none."""
    try:
        then = datetime.fromisoformat(moment)
        past_s = ((now or datetime.now(UTC)) - then).total_seconds()
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
