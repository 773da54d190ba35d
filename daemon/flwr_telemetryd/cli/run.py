"""``flwr-telemetry run -- COMMAND…``: an unmodified Flower reports through the spool.

The command replaces this process, so it keeps its own signals, terminal and exit code. The directory of our
``sitecustomize`` is put in front of PYTHONPATH, so every Python process of the command adopts Flower at its
start; see ``flwr_telemetry.flower``.

Only that directory goes on the path. In an interpreter without flwr-telemetry, and in one that ignores
PYTHONPATH (``-I``, ``-E``, ``-S``), the command runs as usual. Our site-packages never go on PYTHONPATH: they
would come before the standard library, may be for another version of Python, and would show the workload
modules that are not its own.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import flwr_telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127

SITE_DIRECTORY = Path(flwr_telemetry.__file__).resolve().with_name("flower") / "site"


def command_of(arguments: Sequence[str]) -> list[str] | None:
    """The command in ``run [--] COMMAND…``; None for anything else, help and wrong usage included."""
    if not arguments or arguments[0] != "run":
        return None
    words = list(arguments[1:])
    if words[:1] == ["--"] and words[1:] and words[1]:
        return words[1:]
    return words if words and words[0] and not words[0].startswith("-") else None


def environment_for(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which every Python process adopts Flower.

    Args:
        environ: the environment to start from; it is not changed.

    Returns:
        A copy with our directory in front of PYTHONPATH, only once even if ``run`` runs under ``run``. All
        other entries keep their order; an empty entry, which means the working directory, is kept too.
    """
    ours = str(SITE_DIRECTORY)
    python_path = environ.get("PYTHONPATH", "")
    # An empty PYTHONPATH has no entry, but an empty entry in a longer one means the working directory.
    others = [entry for entry in python_path.split(os.pathsep) if entry != ours] if python_path else []
    return {**environ, "PYTHONPATH": os.pathsep.join([ours, *others])}


def run_command(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Execute a command in place of this process, with Flower adopted.

    Args:
        command: the program, looked up on the PATH of ``environ``, and its arguments.
        environ: the environment to start from.

    Returns:
        Only if the program cannot be executed, after one line on standard error. The code is that of a
        shell: 127 if there is no such program, 126 if the system refuses to execute it.

    Raises:
        ValueError: the command is empty, or holds a null character.
    """
    if not command or not command[0]:
        raise ValueError("run needs a command, for example: flwr-telemetry run -- python sim.py")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # the parent process has closed it
            stream.flush()
    ignored = _default_ignored_signals()
    try:
        os.execvpe(command[0], list(command), environment_for(environ))  # noqa: S606 - the user's own command
    except OSError as error:
        # A program also counts as not found if an entry of PATH is no directory.
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "command not found" if missing else error.strerror
        if sys.stderr is not None:
            sys.stderr.write(f"flwr-telemetry run: {command[0]}: {reason}\n")
        return EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _default_ignored_signals() -> list[signal.Signals]:
    """Set the signals that Python ignores at its start to their default action, and give those.

    A program inherits ignored signals. `run -- sh -c 'yes | head -1'` would end with an error message.
    """
    names = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    return ignored
