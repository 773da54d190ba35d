"""``flwr-telemetry``: the command for people, one file for each group of commands.

``main`` alone loads them, so that a part of this package can be imported without the rest.
"""

from __future__ import annotations

import os
import sys

from ..errors import ExitCode


def main() -> None:
    """Run the command; ends the process with an exit code."""
    if os.name != "posix":
        sys.stderr.write("flwr-telemetry: works on Linux and macOS only\n")
        sys.exit(ExitCode.UNUSABLE)
    from .app import app

    app(prog_name="flwr-telemetry")
