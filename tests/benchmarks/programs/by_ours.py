"""Events by us; the settings are in the home."""

import contextlib
import importlib
import os
import subprocess
import sys

import program

import flwr_telemetry.emit  # noqa: F401 - so that a fork has it

_NAMES = "import sys, flwr_telemetry; flwr_telemetry.event('PING'); print(*sys.modules)"


def begin(_origin):
    from flwr_telemetry import event

    def emit(details):
        end = "LEAVE" if "success" in details else "ENTER"
        event(f"FLWR_SIMULATION_RUN_{end}", details)

    return emit, lambda: None


def import_all():
    """Import what an event imports, so that many forks have it: to import it is no part of being at once."""
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_TELEMETRY_LOGGING": "1"}
    names = subprocess.run(
        [sys.executable, "-c", _NAMES], env=environment, capture_output=True, text=True, check=True
    ).stdout
    for name in names.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    if "many" in sys.argv:
        import_all()
    if "flower" in sys.argv:
        importlib.import_module("flwr.supercore.telemetry")
    program.main(begin)
