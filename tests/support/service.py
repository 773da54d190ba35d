"""The service of the user of a private machine, asked by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import processes

if TYPE_CHECKING:
    from tests.support.machine import Machine

UNITS = Path(".config/systemd/user")
"""The directory of units, relative to the user's home."""


def emit(node: Machine, n: int = 1, **env: str) -> None:
    """Let a workload of the user report events."""
    code = f"from flwr_telemetry import event\nfor n in range({n}): event('PING', {{'n': n}}).result()"
    node.python("-c", code, env={**processes.NEVER, **env}, check=True)


def status(node: Machine, *arguments: str) -> dict[str, Any]:
    """Give the answer of `service status --json`."""
    found: dict[str, Any] = json.loads(node.command("service", "status", "--json", *arguments).stdout)
    return found


def install(node: Machine, *arguments: str, **options: Any) -> dict[str, Any]:
    """Install, which must lead to a service that serves, and give the answer."""
    done = node.command("service", "install", "--json", *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def override(node: Machine, unit: str, text: str) -> None:
    """Do what `systemctl --user edit` does."""
    path = node.home / UNITS / f"{unit}.d" / "override.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    node.give(node.home / ".config")
