"""Makes the manual pages from the texts that `--help` shows, and writes them into `man1/` beside this file.

    python daemon/man/make.py [DIRECTORY]

The wheel installs them to `share/man/man1`. A test makes them again and compares.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer.main

from flwr_telemetry.version import __version__
from flwr_telemetryd.cli.app import app
from flwr_telemetryd.sidecar import process

DIRECTORY = Path(__file__).with_name("man1")

DATE = "2026-11-30"
"""The date of the last change of the form of these pages."""

_SECTIONS = ("Exit codes", "Examples")


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    found = {"flwr-telemetryd.1": _daemon()}
    for path, command in _commands(["flwr-telemetry"], typer.main.get_command(app)):
        found[f"{'-'.join(path)}.1"] = _page(path, command)
    return found


def _commands(path: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands([*path, name], inner)


def _page(path: list[str], command: Any) -> str:
    with click.Context(command, info_name=" ".join(path)) as context:
        usage = " ".join(command.collect_usage_pieces(context))
        options = [
            (record[0], record[1])
            for parameter in command.get_params(context)
            if (record := parameter.get_help_record(context)) is not None
        ]
    summary, *paragraphs = _paragraphs(command.help or "")
    inner = [
        (f"{' '.join(path)} {name}", _paragraphs(one.help or "")[0])
        for name, one in getattr(command, "commands", {}).items()
    ]
    lines = [
        *_head("-".join(path), summary),
        ".SH SYNOPSIS",
        f".B {_text(' '.join(path))}",
        _text(usage),
        ".SH DESCRIPTION",
        _text(summary),
    ]
    sections: dict[str, list[str]] = {}
    for paragraph in paragraphs:
        title, _, rest = paragraph.partition("\n")
        name = title.partition(":")[0]
        if name in _SECTIONS:
            after = title.partition(":")[2].strip()
            sections[name] = [*([_text(after)] if after else []), *_literal(rest)]
        else:
            lines += [".PP", _text(paragraph)]
    for name, records in (("COMMANDS", inner), ("OPTIONS", options)):
        if records:
            lines.append(f".SH {name}")
            for head, told in records:
                lines += [".TP", f".B {_text(head)}", _text(told)]
    for name, written in sections.items():
        lines += [f".SH {'EXIT STATUS' if name == 'Exit codes' else name.upper()}", *written]
    return "\n".join([*lines, *_foot(path)]) + "\n"


def _daemon() -> str:
    parser = process.parser()
    lines = [*_head("flwr-telemetryd", parser.description or ""), ".SH SYNOPSIS", ".B flwr\\-telemetryd"]
    lines += ["[OPTIONS]", ".SH DESCRIPTION", _text(parser.description or ""), ".PP"]
    lines += [
        _text("Without an option it delivers what waits, waits for more, and ends after a time without work.")
    ]
    lines.append(".SH OPTIONS")
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        metavar = f" {action.metavar}" if action.metavar else ""
        lines += [".TP", f".B {_text(', '.join(action.option_strings) + metavar)}", _text(action.help or "")]
    codes = (parser.epilog or "").partition(": ")[2]
    lines += [".SH EXIT STATUS", _text(codes)]
    return "\n".join([*lines, *_foot(["flwr-telemetryd"])]) + "\n"


def _head(name: str, summary: str) -> list[str]:
    title = f'.TH {_line(name.upper())} 1 "{DATE}" "flwr-telemetry {__version__}" "User Commands"'
    return [
        '.\\" Made by daemon/man/make.py from the text of --help.',
        title,
        ".SH NAME",
        _text(f"{name} - {summary.rstrip('.')}"),
    ]


def _foot(path: list[str]) -> list[str]:
    others = {"flwr-telemetry", "flwr-telemetryd", "-".join(path[:-1])} - {"-".join(path), ""}
    named = ", ".join(f"{_text(other)}(1)" for other in sorted(others))
    return [".SH SEE ALSO", named]


def _paragraphs(text: str) -> list[str]:
    parts = inspect.cleandoc(text).replace("\b\n", "").replace("\b", "").split("\n\n")
    return [part.strip("\n") for part in parts if part.strip()]


def _literal(text: str) -> list[str]:
    return [".nf", *map(_line, text.splitlines()), ".fi"]


def _text(text: str) -> str:
    """Text in lines of at most 80 characters, escapes included, none of which roff takes for a request."""
    plain = text.replace("\\[", "[").replace("…", "...").replace("µ", "micro")
    return "\n".join(map(_line, textwrap.wrap(" ".join(plain.split()), 68, break_on_hyphens=False)))


def _line(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{escaped}" if text.startswith((".", "'")) else escaped


def main(directory: Path = DIRECTORY) -> None:
    """Write the pages into a directory, and delete those of commands that are gone."""
    directory.mkdir(exist_ok=True)
    made = pages()
    for path in directory.glob("*.1"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (directory / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
