"""Runs the programs of a service manager, each with a timeout and without input."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from subprocess import CompletedProcess

_ASK_S = 5.0
_DO_S = 90.0


def answer(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """The output of a program with any exit code; empty if it cannot run or does not end."""
    done = _run(command, environ, _ASK_S)
    return "" if done is None else done.stdout.decode(errors="replace").strip()


def complaint(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Run a program that changes something; its error message, or an empty text after a success."""
    done = _run(command, environ, _DO_S)
    if done is None:
        return f"`{' '.join(command)}` cannot be run, or does not end"
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or "it failed"


def _run(
    command: Sequence[str], environ: Mapping[str, str], limit_s: float
) -> CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603 - commands of our own
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
