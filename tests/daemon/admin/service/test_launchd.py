"""The LaunchAgent of macOS: its text, and a stand-in for launchd that runs the real service."""

import json
import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from flwr_telemetry import system
from flwr_telemetry.layout import Home
from flwr_telemetryd.admin.doctor import around
from flwr_telemetryd.admin.service import agent, install, launchd, status
from flwr_telemetryd.admin.service.agent import AGENT, LABEL
from flwr_telemetryd.admin.service.machine import Machine
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.errors import ServiceError
from tests.support import homes, launchctl, processes

ODD = Path("/home/zoé & co/.flwr")
MACHINE = Machine("/v env/bin/python", ODD, False, (Path("/x"),), {"HTTPS_PROXY": "p"})
CODE = """
import sys
from flwr_telemetry import system
system.MACOS = True
from flwr_telemetryd.cli import main
main()
"""


@pytest.fixture
def mac(tmp_path, monkeypatch):
    """Give the directory of the stand-in, and let this process take its machine for a Mac."""
    directory = tmp_path / "bin"
    launchctl.install(directory)
    monkeypatch.setattr(system, "MACOS", True)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    yield directory
    if (directory / "loaded").exists():
        domain = (directory / "domain").read_text()
        subprocess.run(["launchctl", "bootout", f"{domain}/{LABEL}"], check=True)


def command(*words):
    """Run `flwr-telemetry service` as on a Mac."""
    line = [sys.executable, "-c", CODE, "service", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def agents():
    return Path(os.environ["HOME"]) / "Library/LaunchAgents"


@pytest.mark.parametrize("timer", [False, True])
def test_the_text_is_a_property_list_that_launchd_reads(timer):
    """A service is started again after a failure only. A path that no list can name is an error."""
    text = agent.render(MACHINE, timer=timer)
    found = plistlib.loads(text.encode())
    assert (found["Label"], found["RunAtLoad"], found["Umask"]) == (LABEL, True, 0o077)
    assert found["ProgramArguments"][:2] == ["/v env/bin/python", "-P"]
    assert found["ProgramArguments"][-1] == ("--once" if timer else "--service")
    assert found["EnvironmentVariables"] == {"FLWR_HOME": "/home/zoé & co/.flwr", "HTTPS_PROXY": "p"}
    assert found.get("KeepAlive") == (None if timer else {"SuccessfulExit": False})
    assert ("StartInterval" in found) is agent.is_timer(text) is timer
    assert agent.home_of(text) == "/home/zoé & co/.flwr"
    assert agent.interpreter_of(text) == "/v env/bin/python"
    assert agent.home_of(text.replace("<dict>", "<dict", 1)) is None
    for odd in ("/a\x01b", "/a\udc80b"):
        with pytest.raises(ServiceError, match="cannot be named in"):
            agent.render(Machine("/p", Path(odd), False, ()), timer=timer)


def test_from_the_installation_to_its_end(mac, home, collector):
    homes.configure(home, collector.url, **homes.QUICK)
    told = json.loads(command("install", "--json").stdout)
    assert (told["serves"], told["kind"], told["written"]) == (True, "service", [AGENT])
    manager = f"gui/{os.geteuid()}"
    assert (told["active"], told["manager"], told["problems"]) == ("active (running)", manager, [])
    assert launchctl.calls(mac)[-1] == f"bootstrap gui/{os.geteuid()} {agents() / AGENT}"
    before = launchctl.calls(mac)
    again = json.loads(command("install", "--json").stdout)
    assert (again["serves"], again["written"], again["pid"]) == (True, [], told["pid"])
    assert launchctl.calls(mac) == before
    processes.emit(home, 3)
    assert processes.command(home, "flush").returncode == 0
    assert len(collector.events()) == 3
    shown = command("status")
    assert (shown.returncode, "loginctl" in shown.stdout) == (0, False)
    # An opt-out ends it for good: launchd starts it again after any exit code but 0.
    assert processes.command(home, "disable").returncode == 0
    processes.wait_until((mac / "exit").exists)
    assert (mac / "exit").read_text() == "0"
    assert processes.command(home, "enable").returncode == 0
    down = command("status")
    assert down.returncode == 1
    assert f"`launchctl kickstart -k gui/{os.geteuid()}/{LABEL}` starts it" in " ".join(down.stdout.split())
    gone = json.loads(command("uninstall", "--json").stdout)
    assert gone == {"directory": str(agents()), "removed": [AGENT], "kept": []}
    assert [*agents().iterdir()] == []
    assert launchctl.calls(mac)[-1] == f"bootout gui/{os.geteuid()}/{LABEL}"
    assert command("status").stdout.startswith("No service is installed")


def test_a_timer_takes_the_place_of_a_service(mac, home, collector):
    """This user came by ssh, so there is no session at the screen."""
    (mac / "domain").write_text(f"user/{os.geteuid()}")
    homes.configure(home, collector.url, **homes.QUICK)
    assert json.loads(command("install", "--json").stdout)["serves"]
    processes.emit(home, 2)
    told = json.loads(command("install", "--timer", "--json").stdout)
    assert (told["kind"], told["serves"], told["result"]) == ("timer", True, "success")
    assert len(collector.events()) == 2


def test_an_agent_that_is_not_ours_stays(mac, home):
    homes.configure(home, "file:///dev/null")
    agents().mkdir(parents=True)
    path = agents() / AGENT
    ours = agent.render(MACHINE, timer=False)
    for text, words in {
        "<plist/>": "not written by this command",
        ours.replace("Nice", "nice"): "edited since",
        ours: "and a user has one service",
    }.items():
        path.write_text(text)
        refused = command("install")
        assert (refused.returncode, words in " ".join(refused.stderr.split())) == (1, True), refused.stderr
        assert path.read_text() == text
    assert not install.serves(Home(home), os.environ)
    path.write_text("<plist/>")
    assert "is left as it is" in install.uninstall(os.environ).kept[0]
    assert not any(call.startswith("boot") for call in launchctl.calls(mac))


def test_without_a_session_a_message_says_what_to_do(mac, home):
    """And a file that is there can be removed; `--print` needs no session."""
    homes.configure(home, "file:///dev/null")
    (mac / "domain").write_text("gui/0815")
    refused = command("install")
    assert (refused.returncode, "log in at the screen" in refused.stderr) == (1, True)
    (found,) = around.systemd(os.environ)
    assert (found.name, found.verdict) == ("launchd", "note")
    printed = command("install", "--print")
    head, _, text = printed.stdout.partition("\n")
    assert (head, plistlib.loads(text.encode())["Label"]) == (f"# {AGENT}", LABEL)
    agents().mkdir(parents=True)
    (agents() / AGENT).write_text(text)
    view = status.service_status(Home(home), os.environ)
    assert (view.current, view.serves, launchd.NO_MANAGER in view.problems) == (True, False, True)
    assert view.start_command == f"launchctl bootstrap gui/{os.geteuid()} {agents() / AGENT}"
    assert launchd.uninstall(os.environ, Clock()).removed == [AGENT]
