"""The service of the user of a private machine, asked by the command."""

import json
from pathlib import Path

from tests.support import processes

UNITS = Path(".config/systemd/user")
"""The directory of units, relative to the user's home."""


def emit(node, n=1, **env):
    """Let a workload of the user report events."""
    code = f"from flwr_telemetry import event\nfor n in range({n}): event('PING', {{'n': n}}).result()"
    node.python("-c", code, env={**processes.NEVER, **env}, check=True)


def status(node, *arguments):
    """Give the answer of `service status --json`."""
    return json.loads(node.command("service", "status", "--json", *arguments).stdout)


def install(node, *arguments, **options):
    """Install, which must lead to a service that serves, and give the answer."""
    done = node.command("service", "install", "--json", *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def override(node, unit, text):
    """Do what `systemctl --user edit` does."""
    path = node.home / UNITS / f"{unit}.d" / "override.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    node.give(node.home / ".config")
