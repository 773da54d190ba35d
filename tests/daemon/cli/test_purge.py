"""``flwr-telemetry purge``: nothing that this package has ever written is left, and all else is."""

import json
import os
import sys

import pytest

from flwr_telemetry import settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.service import machine, unit
from tests.support import homes, processes, records
from tests.support.commands import ran
from tests.support.processes import command

SHELLS = {
    "bash": ".bash_completions/flwr-telemetry.sh",
    "zsh": ".zfunc/_flwr-telemetry",
    "fish": ".config/fish/completions/flwr-telemetry.fish",
}


def install_completion(home, shell):
    code = (
        "import sys\n"
        "from typer._completion_shared import install\n"
        f"install(shell={shell!r}, prog_name='flwr-telemetry', complete_var='_FLWR_TELEMETRY_COMPLETE')"
    )
    assert processes.run(home, ["-c", code]).returncode == 0


def write_unit(home, serves):
    directory = home.parent / ".config/systemd/user"
    directory.mkdir(parents=True, exist_ok=True)
    known = machine.this_machine(Home(serves), settings.load(Home(serves), None), os.environ)
    path = directory / unit.SERVICE
    path.write_text(unit.sealed(unit.render(unit.shipped(unit.SERVICE), known)))
    return path


@pytest.mark.parametrize("is_running", [True, False])
def test_nothing_of_ours_is_left(home, collector, is_running):
    """Also of other hosts, of killed processes and under an opt-out; a sidecar that runs has ended."""
    homes.configure(home, collector.url, idle_exit_s=600)
    processes.emit(home, 2)
    processes.wait_until(lambda: homes.sent(home))
    collector.answer_by(lambda _request: 503)
    if not is_running:
        ran(home, "disable")
    homes.put(home, records.series(2), host_of="node-7")
    (homes.telemetry(home) / "forgotten").write_text("0" * 64 + "\n")
    (homes.telemetry(home) / "service-node-7.json").write_text("{}")
    (home / "source.9e3a2a53-6bd5-4d6b-8a3c-6f2f60f0c9d1").write_text("")
    (home / ".telemetry.ab.purged").mkdir()
    for shell in SHELLS:
        install_completion(home, shell)
    write_unit(home, home)
    (home / "config.toml").write_text("# Flower's own\n")
    told = json.loads(ran(home, "purge", "--yes", "--json").stdout)
    assert told["kept"] == []
    assert str(homes.telemetry(home)) in told["removed"]
    processes.wait_for_end(home)  # on a busy machine it may outlive the command, and its home
    left = {path for path in homes.tree(home.parent) if (home.parent / path).is_file()}
    assert left == {".flwr/config.toml", ".bashrc", ".zshrc"}
    assert [path.name for path in home.iterdir()] == ["config.toml"]
    assert "flwr-telemetry" not in (home.parent / ".bashrc").read_text()
    (home / "config.toml").unlink()
    assert ran(home, "purge", "--yes").stdout.startswith(f"Removed {home}.")
    assert "There was nothing to remove." in ran(home, "purge", "--yes").stdout
    assert not home.exists()


def test_what_is_anothers_stays(home, tmp_path):
    (tmp_path / "other").mkdir()
    service = write_unit(home, tmp_path / "other")
    completion = home.parent / SHELLS["zsh"]
    completion.parent.mkdir()
    completion.write_text("# mine")
    install_completion(home, "bash")
    rc = home.parent / ".bashrc"
    rc.write_text(f"alias a=b\n{rc.read_text()}# the end\n")
    rc.chmod(0o640)
    ran(home, "purge", "--yes")
    assert service.exists()
    assert completion.read_text() == "# mine"
    assert rc.read_text().split("\n") == ["alias a=b", "", "# the end", ""]
    assert rc.stat().st_mode & 0o777 == 0o640


def test_it_asks_first(home):
    homes.put(home, records.series(1))
    before = homes.contents(home)
    assert command(home, "purge").returncode == 2
    code = f"import pty\npty.spawn([{sys.executable!r}, '-m', 'flwr_telemetryd.cli', 'purge'])"
    done = processes.run(home, ["-c", code], stdin=None, input="n\n")
    assert "any opt-out too?" in done.stdout
    assert homes.contents(home) == before


@pytest.mark.skipif(not processes.IS_ROOT, reason="only root can give a home away")
def test_another_users_home_is_left_alone(home):
    homes.put(home, records.series(1))
    os.chown(home, 12345, 12345)
    before = homes.contents(home)
    ran(home, "purge", "--yes", code=5)
    assert homes.contents(home) == before


def test_a_link_in_the_place_of_the_directory_goes_and_its_target_stays(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    home.mkdir()
    homes.telemetry(home).symlink_to(elsewhere)
    ran(home, "purge", "--yes")
    assert not os.path.lexists(homes.telemetry(home))
    assert (elsewhere / "precious").read_text() == "x"
