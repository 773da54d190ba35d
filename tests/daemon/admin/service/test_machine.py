"""The values of a machine: variables, writable directories, and homes that lie elsewhere."""

from pathlib import Path

from flwr_telemetry.layout import Home
from flwr_telemetry.settings import Consent, Settings
from flwr_telemetryd.admin.service.machine import this_machine
from flwr_telemetryd.admin.service.unit import SERVICE
from tests.support import homes
from tests.support.processes import wait_until
from tests.support.service import UNITS, emit, install

HOME = Path("/home/a/.flwr")


def test_this_machine(tmp_path, monkeypatch):
    """The proxy and the library path, but no token of the shell; the directories that it writes to."""
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


def test_a_home_among_temporary_files(login_node):
    """The unit then has no /tmp of its own."""
    node = login_node
    inside = "/tmp/alice's/.flwr"
    home = node.inside(inside)
    home.parent.mkdir()
    _serves_from(node, home, inside, "--home", inside)
    assert "\nPrivateTmp=no\n" in (node.home / UNITS / SERVICE).read_text()


def test_a_home_behind_a_link(login_node):
    """If `~/.flwr` is a link to another disk, the service may write there."""
    node = login_node
    home = node.inside("/var/log/scratch/.flwr")
    home.parent.mkdir()
    (node.home / ".flwr").symlink_to("/var/log/scratch/.flwr")
    _serves_from(node, home, "/home/alice/.flwr")


def _serves_from(node, home, inside, *arguments):
    homes.configure(home, f"file://{inside}/telemetry/bodies.jsonl")
    node.give(home.parent)
    assert install(node, *arguments)["home"] == inside
    emit(node, FLWR_HOME=inside)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until((home / "telemetry" / "bodies.jsonl").exists)
