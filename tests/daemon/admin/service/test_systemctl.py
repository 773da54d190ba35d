"""systemd's programs, as scripts that answer, fail, or are missing."""

import os
import pwd

import pytest

from flwr_telemetryd.admin.service import systemctl
from flwr_telemetryd.admin.service.systemctl import Systemctl, lingers


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/1"}


def put(tmp_path, name, script):
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)


COMPLAINTS = {"exit 0": "", "echo no such unit >&2; exit 5": "no such unit", "exit 5": "it failed"}


def test_the_answers_of_a_command(environ, tmp_path):
    for script, complaint in COMPLAINTS.items():
        put(tmp_path, "systemctl", script)
        assert Systemctl(environ).run("stop", "x.service") == complaint
    put(tmp_path, "systemctl", "echo StatusText=a=b; echo odd")
    assert Systemctl(environ).show("x.service", "StatusText") == {"StatusText": "a=b"}


@pytest.mark.parametrize(
    ("configured", "searched", "directory"),
    [
        (None, "/c/systemd/user", "/home/a/.config/systemd/user"),
        ("/c", "/c/systemd/user /etc/systemd/user", "/c/systemd/user"),
        ("/c", "/home/a/.config/systemd/user", "/home/a/.config/systemd/user"),
        ("/c", None, "/c/systemd/user"),
    ],
)
def test_units_lie_where_the_manager_searches(environ, tmp_path, configured, searched, directory):
    if configured is not None:
        environ["XDG_CONFIG_HOME"] = configured
    if searched is not None:
        put(tmp_path, "systemctl", f'echo "UnitPath={searched}"')
    assert str(Systemctl(environ).unit_directory()) == directory


def test_without_logind_a_file_says_whether_a_user_lingers(environ, tmp_path, monkeypatch):
    monkeypatch.setattr(systemctl, "_LINGER", tmp_path)
    assert not lingers(environ)
    (tmp_path / pwd.getpwuid(os.geteuid()).pw_name).touch()
    assert lingers(environ)
