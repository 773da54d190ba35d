"""The values of a machine: variables, writable directories, and homes that lie elsewhere."""

from pathlib import Path

from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Consent, Settings
from flwr_telemetryd.admin.service.machine import this_machine
from flwr_telemetryd.admin.service.unit import SERVICE
from tests.support import homes
from tests.support.processes import wait_until
from tests.support.service import emit, install

HOME = Path("/home/a/.flwr")


def test_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/v/bin/python")
    environ = {"HTTPS_PROXY": "http://p:1", "LD_LIBRARY_PATH": "/lib", "TOKEN": "secret", "PATH": "/bin"}
    consent = Consent(enabled=True, decided_by="default", reason="")
    found = this_machine(Home(HOME), Settings(consent, url=f"file://{tmp_path}/a%20b/c.jsonl"), environ)
    assert found.variables == {"HTTPS_PROXY": "http://p:1", "LD_LIBRARY_PATH": "/lib"}
    assert found.writes == (HOME / "telemetry", (tmp_path / "a b").resolve())
    assert found.is_default is False
    inside = this_machine(Home(HOME), Settings(consent, url=f"file://{HOME}/telemetry/c.jsonl"), environ)
    assert inside.writes == (HOME / "telemetry",)
    assert this_machine(Home(Path("/var/tmp/x")), Settings(consent), environ).private_tmp is False


def test_a_home_behind_a_link(node):
    home = node.inside("/var/log/scratch/.flwr")
    home.parent.mkdir()
    (node.home / ".flwr").symlink_to("/var/log/scratch/.flwr")
    homes.configure(home, "file:///home/alice/.flwr/telemetry/bodies.jsonl")
    node.give(home.parent)
    install(node)
    emit(node)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until((home / "telemetry" / "bodies.jsonl").exists)


def test_a_file_in_capital_letters_is_a_file(tmp_path):
    consent = Consent(enabled=True, decided_by="default", reason="")
    found = this_machine(Home(HOME), Settings(consent, url=f"FILE://{tmp_path}/c.jsonl"), {})
    assert found.writes == (HOME / "telemetry", tmp_path.resolve())
