"""``flwr-telemetry run -- COMMAND…``: a Flower that knows nothing of us reports through us.

The command is executed in place of this process, with the directory of our ``sitecustomize`` in front
of PYTHONPATH. So every Python process of the run adopts Flower at its start (``flwr_telemetry.flower``),
and signals, terminal and exit status are the command's own: nothing of us waits for it.

Only that one directory goes on the path. An interpreter in which flwr-telemetry is not installed, and
one that ignores PYTHONPATH (``-I``, ``-E``, ``-S``), runs as if we were not there. We never lend it our
own packages: a site-packages on PYTHONPATH comes before the standard library, was made for another
version of Python, and would let a workload find modules that it must not see.
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
    """Return the environment in which every Python process adopts Flower.

    Args:
        environ: the environment to start from; it is not changed.

    Returns:
        A copy with our directory in front of PYTHONPATH, once, however often ``run`` runs under ``run``.
        All other entries keep their order, empty ones (the working directory) included.
    """
    ours = str(SITE_DIRECTORY)
    python_path = environ.get("PYTHONPATH", "")
    # An empty PYTHONPATH counts as none, but an empty entry in a longer one as the working directory.
    others = [entry for entry in python_path.split(os.pathsep) if entry != ours] if python_path else []
    return {**environ, "PYTHONPATH": os.pathsep.join([ours, *others])}


def run_command(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Execute a command in place of this process, with Flower adopted.

    Args:
        command: the program, looked up on the PATH of ``environ``, and its arguments.
        environ: the environment to start from.

    Returns:
        Only if the program cannot be executed, with a line on the standard error, and as a shell
        would: 127 if there is none, 126 if the system refuses to execute it.

    Raises:
        ValueError: the command is empty, or holds a null character.
    """
    if not command or not command[0]:
        msg = "run needs a command, for example: flwr-telemetry run -- python sim.py"
        raise ValueError(msg)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as whoever started us has closed it
            stream.flush()
    ignored = _default_ignored_signals()
    try:
        os.execvpe(command[0], list(command), environment_for(environ))  # noqa: S606 - that is the job
    except OSError as error:
        # A name is also "not found" if PATH holds something that is no directory.
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        reason = "command not found" if missing else error.strerror
        if sys.stderr is not None:
            sys.stderr.write(f"flwr-telemetry run: {command[0]}: {reason}\n")
        return EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _default_ignored_signals() -> list[signal.Signals]:
    # Python ignores these for itself at its start, and a program inherits what is ignored: without
    # this, `run -- sh -c 'yes | head -1'` would end in an error message.
    names = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    return ignored
