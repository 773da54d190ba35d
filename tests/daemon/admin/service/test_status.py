"""`service status` and `service logs` on a machine with a real systemd."""

import json
import sys
from pathlib import Path

import pytest

from flwr_telemetryd.admin.service.unit import SERVICE
from tests.support import homes
from tests.support.processes import wait_until
from tests.support.service import emit, install, override, status


@pytest.mark.heavy
def test_an_upgrade(node, flwr_home, reached):
    former = install(node)
    (path,) = wait_until(lambda: homes.find(flwr_home, "**/sidecar.json"), what="word of the sidecar")
    # As an older version would write it. The process writes this file again only after a change.
    state = json.loads(path.read_text())
    assert state["pid"] == former["pid"]
    path.write_text(json.dumps({**state, "version": "0.0.1"}))
    told = status(node)
    (problem,) = told["problems"]
    assert (told["serves"], "still runs version 0.0.1" in problem) == (True, True)
    again = install(node)
    assert (again["written"], again["serves"], again["pid"] != former["pid"]) == ([], True, True)
    wait_until(lambda: json.loads(path.read_text())["pid"] == again["pid"])
    assert status(node)["problems"] == []
    assert install(node)["pid"] == again["pid"]


def test_a_service_that_cannot_start(node, reached):
    """The install prints the end of its journal. Without a journal, `logs` shows the sidecar's file."""
    override(node, SERVICE, "[Service]\nExecStartPre=/bin/sh -c 'echo no luck; exit 7'\n")
    done = node.command("service", "install")
    assert done.returncode == 1
    assert f"{SERVICE} does not serve" in done.stderr
    assert "no luck" in done.stderr
    nothing = node.command("service", "logs", env={"PATH": str(Path(sys.prefix) / "bin")})
    assert (nothing.returncode, "no sidecar has run" in nothing.stderr) == (1, True)
    emit(node)
    node.python("-P", "-m", "flwr_telemetryd", "--once", check=True)
    (node.home / "bin").mkdir()
    (node.home / "bin" / "tail").symlink_to("/usr/bin/tail")
    node.give(node.home)
    in_file = node.command("service", "logs", env={"PATH": "/home/alice/bin"})
    assert in_file.returncode == 0
    assert "sidecar.log:\n" in in_file.stderr
    assert "batch" in in_file.stdout
