"""The private machines of other tests are private, and gone afterwards."""

import contextlib
import os
from pathlib import Path

import psutil
import pytest

from tests.support import machine, processes


@pytest.mark.parametrize("user_namespaces", [True, False])
def test_a_machine(tmp_path, *, user_namespaces):
    """Its user has no rights and no network but its own; nothing gets out, and nothing of it stays."""
    if reason := machine.why_not():
        pytest.skip(reason)
    (tmp_path / "ours").write_text("ours")
    with machine.Machine(tmp_path, user_namespaces=user_namespaces) as node:
        node.log_in()
        assert node.run(["whoami"]).stdout == "alice\n"
        assert node.run(["hostname"]).stdout == "login1\n" != f"{os.uname().nodename}\n"
        assert node.run(["ls", "/tmp", "/run/user"], check=True).stdout.split()[0] == "/run/user:"
        assert node.run(["cat", tmp_path / "ours"], user="root").stdout == "ours"
        assert node.run(["touch", tmp_path / "x", "/opt/x", "/etc/x"]).returncode == 1
        assert node.run(["unshare", "--user", "true"]).returncode == (0 if user_namespaces else 1)
        with node.socket() as listening:
            port = listening.getsockname()[1]
            node.python("-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))", check=True)
        assert node.run(["ip", "-o", "link"]).stdout.count("\n") == 1
        node.run(["systemd-run", "--user", "--collect", "sleep", "1000"], check=True)
        group = node._inside.group
        processes.wait_until(lambda: _names(group) > {"systemd", "systemd-journald", "sleep"})
        alive = list(_processes(group))
    assert not any(process.is_running() for process in alive)
    assert not group.exists()
    assert (tmp_path / "ours").read_text() == "ours"


def _processes(group):
    return (process for process in psutil.process_iter() if _is_in(group, process.pid))


def _names(group):
    names = set()
    for process in _processes(group):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.add(process.name())  # `(sleep)` until systemd's child has executed it
    return names


def _is_in(group, pid):
    try:
        return f"/{group.name}/" in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
