"""The Python interpreter that a command line starts, and whether Flower is adopted in it.

It finds an interpreter by its name, and a script with a ``#!`` line such as ``flwr``. Both may stand behind
``env`` or a program that only prepares the start of another, such as ``nice``. It does not know the commands
that a shell starts later.

This module never imports anything of the other interpreter. It starts that one, if it is not this one, to ask
whether the hook is there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ASK_S = 10.0
"""An interpreter has so long to answer, in seconds."""

_IS_PYTHON = re.compile(r"(python|pypy)[\d.]*[a-z]*")
_PREPARERS = frozenset(
    "nice ionice nohup setsid stdbuf timeout time taskset chrt numactl xvfb-run catchsegv".split()
)
_ALONE, _WITH_VALUE, _LAST = "IESsP", "WX", "cm"
"""Options of Python: those that decide about the hook, those with a value, and those before a program."""

_TRAMPOLINE = "'''exec'"
"""pip's second line of a script whose interpreter has a long path or one with a space."""

_MAX_DEPTH = 8
_HEAD_BYTES = 4096
_ASK = (
    "import sys; sys.stdout.write("
    "str(any(type(finder).__module__ == 'flwr_telemetry.flower' for finder in sys.meta_path)))"
)


class Interpreter(NamedTuple):
    """A Python interpreter as a command line starts it."""

    program: str
    """Its path."""
    options: tuple[str, ...]
    """Those of its options that decide what it loads at its start."""
    environ: Mapping[str, str]
    """Its variables."""


def find(command: Sequence[str], environ: Mapping[str, str], depth: int = 0) -> Interpreter | None:
    """The interpreter that a command starts; None if it is no Python program, or none can be told.

    Args:
        command: the program and its arguments.
        environ: the variables that it gets.
        depth: how many programs came before this one.
    """
    program = _program(command[0], environ) if command and depth < _MAX_DEPTH else None
    if program is None:
        return None
    name = os.path.basename(command[0])
    if name == "env":
        return find(*_after_env(command[1:], environ), depth + 1)
    if name in _PREPARERS:
        words = iter(range(1, len(command)))
        later = next((at for at in words if _program(command[at], environ)), len(command))
        return find(command[later:], environ, depth + 1)
    if _IS_PYTHON.fullmatch(name) or _IS_PYTHON.fullmatch(os.path.basename(os.path.realpath(program))):
        return Interpreter(program, tuple(_options(command[1:])), environ)
    return find(_first_line(program), environ, depth + 1)


def adopts(interpreter: Interpreter, environ: Mapping[str, str]) -> bool | None:
    """Whether Flower is adopted in an interpreter; None if it does not answer.

    Args:
        interpreter: the interpreter, with the variables of ``flwr-telemetry run``.
        environ: those variables, as ``run`` gives them to the command.
    """
    if not interpreter.options and interpreter.environ == environ and _is_this(interpreter.program):
        return True
    import subprocess  # which costs the start of a command more time than all the rest

    try:
        done = subprocess.run(  # noqa: S603 - the program that the user starts anyway
            [interpreter.program, *interpreter.options, "-c", _ASK],
            env=dict(interpreter.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return {b"True": True, b"False": False}.get((done.stdout.split() or [b""])[-1])


def _is_this(program: str) -> bool:
    """Whether a program is the interpreter of this process, in the same environment."""
    ours = sys.executable or os.devnull
    is_beside = os.path.dirname(os.path.abspath(program)) == os.path.dirname(os.path.abspath(ours))
    return is_beside and os.path.realpath(program) == os.path.realpath(ours)


def _program(word: str, environ: Mapping[str, str]) -> str | None:
    return None if word.startswith("-") else shutil.which(word, path=environ.get("PATH", os.defpath))


def _after_env(words: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
    """The command after ``env`` and its options, and the variables that it gets."""
    left, changed = list(words), dict(environ)
    while left:
        word = left.pop(0)
        if word in {"-i", "-", "--ignore-environment"}:
            changed.clear()
        elif word in {"-u", "--unset"} and left:
            changed.pop(left.pop(0), None)
        elif word.startswith(("-u", "--unset=")):
            changed.pop(word.removeprefix("--unset=").removeprefix("-u"), None)
        elif word in {"-S", "--split-string"} and left:
            left = [*_split(left.pop(0)), *left]
        elif word.startswith(("-S", "--split-string=")):
            left = [*_split(word.removeprefix("--split-string=").removeprefix("-S")), *left]
        elif word in {"-C", "--chdir"} and left:
            left.pop(0)
        elif "=" in word and not word.startswith("-"):
            name, _, value = word.partition("=")
            changed[name] = value
        elif not word.startswith("-"):
            return [word, *left], changed
    return [], changed


def _options(words: Sequence[str]) -> list[str]:
    """The options of an interpreter that decide about the hook."""
    found: list[str] = []
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        for at, letter in enumerate(word[1:], start=2):
            if letter in _LAST:
                return found
            if letter in _WITH_VALUE or word.startswith("--check-hash"):
                left = left if word[at:] and letter in _WITH_VALUE else left[1:]
                break
            if letter in _ALONE:
                found.append(f"-{letter}")
    return found


def _first_line(program: str) -> list[str]:
    """The command that the kernel starts for a script; empty if the program is none."""
    try:
        with Path(program).open("rb") as file:
            head = os.fsdecode(file.read(_HEAD_BYTES))
    except OSError:
        return []
    first, _, rest = head.partition("\n")
    if not first.startswith("#!"):
        return []
    if rest.startswith(_TRAMPOLINE):
        words = _split(rest.partition("\n")[0].removeprefix(_TRAMPOLINE))
        return [word for word in words if not word.startswith("$")] + [program]
    interpreter, _, argument = first[2:].strip().partition(" ")
    return [interpreter, *filter(None, [argument.strip()]), program]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []
