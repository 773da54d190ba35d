"""The service on a machine with a real systemd, journal and user: from its installation to its end."""

import json
import sys
from pathlib import Path

import pytest
import trustme

from flwr_telemetryd.admin.service.unit import ONCE, SERVICE, TIMER
from tests.support import homes, machine
from tests.support.processes import wait_until
from tests.support.service import UNITS, emit, install, override, status
from tests.support.tls import TlsCollector


def test_from_the_installation_to_the_next_session(node, reached):
    """It serves, delivers on a reload, comes back after a kill, and starts with the next session."""
    override(node, SERVICE, "[Service]\nRestartSec=100ms\n")
    told = install(node)
    assert (told["serves"], told["kind"], told["written"]) == (True, "service", [SERVICE])
    assert (told["active"], told["problems"]) == ("active (running)", [])
    known = node.properties(SERVICE, "Type", "NotifyAccess", "WatchdogUSec", "UnitFileState")
    assert {*known.values()} == {"notify", "main", "2min", "enabled"}
    # Installing again changes nothing, least of all the process.
    again = install(node)
    assert (again["written"], again["pid"]) == ([], told["pid"])
    emit(node, 3)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until(lambda: len(reached.events()) == 3)
    emit(node, 2)
    node.run(["systemctl", "--user", "kill", "--signal=KILL", SERVICE], check=True)
    wait_until(lambda: node.properties(SERVICE, "NRestarts") == {"NRestarts": "1"})
    wait_until(lambda: len(reached.events()) == 5)
    after = wait_until(lambda: (found := status(node))["serves"] and found)
    assert (after["pid"] != told["pid"], after["restarts"]) == (True, 1)
    # As the watchdog does it: the journal gets the place where it hung, and there is no core dump.
    node.run(["systemctl", "--user", "kill", "--signal=ABRT", SERVICE], check=True)
    wait_until(lambda: node.properties(SERVICE, "NRestarts") == {"NRestarts": "2"})
    wait_until(lambda: status(node)["serves"])
    assert [*node.home.rglob("core*")] == []
    # Its log is in the user's own journal, with priorities.
    said = {
        entry["MESSAGE"]: entry for entry in node.journal(f"--unit={SERVICE}", "--identifier=flwr-telemetryd")
    }
    assert said["settings read again"]["PRIORITY"] == "6"
    assert "Fatal Python error: Aborted" in said
    assert not [message for message in said if message.startswith("<")]
    shown = node.command("service", "logs", "-n", "100")
    assert (shown.returncode, shown.stderr) == (0, "From the journal:\n")
    assert "settings read again" in shown.stdout
    # It starts with the session.
    node.log_out()
    node.log_in()
    wait_until(lambda: status(node)["serves"])


def test_stop_opt_out_and_uninstall(node, flwr_home, reached):
    """It does not serve while nothing can be delivered, and ends by a stop, an opt-out and an uninstall."""
    override(node, SERVICE, "[Service]\nRestartSec=100ms\n")
    install(node)
    reached.answer_by(lambda _: 503)
    emit(node)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    failing = wait_until(lambda: (found := status(node))["fails"] and found)
    assert failing["serves"] is False
    (problem,) = failing["problems"]
    assert problem == "waiting events cannot be delivered now, and are kept: the collector answered 503"
    assert node.command("service", "status").returncode == 1
    reached.answer_by(lambda _: 200)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until(lambda: len(reached.events()) == 1)
    wait_until(lambda: status(node)["serves"])
    node.run(["systemctl", "--user", "stop", SERVICE], check=True)
    stopped = node.properties(SERVICE, "ActiveState", "Result", "ExecMainStatus")
    assert stopped == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    down = node.command("service", "status")
    assert down.returncode == 1
    assert f"Problem: it does not run; `systemctl --user start {SERVICE}`" in down.stdout
    assert homes.unsent_files(flwr_home) == []
    # An opt-out ends it for good.
    node.run(["systemctl", "--user", "start", SERVICE], check=True)
    assert node.command("disable").returncode == 0
    wait_until(lambda: node.properties(SERVICE, "ActiveState")["ActiveState"] == "inactive")
    ended = node.properties(SERVICE, "SubState", "Result", "ExecMainStatus", "NRestarts")
    assert ended == {"SubState": "dead", "Result": "success", "ExecMainStatus": "3", "NRestarts": "0"}
    assert node.run(["systemctl", "--user", "start", SERVICE]).returncode != 0
    assert {*node.properties(SERVICE, "SubState", "ExecMainStatus").values()} == {"failed", "3"}
    off = node.command("service", "install")
    assert (off.returncode, off.stdout) == (3, "")
    assert "telemetry is off" in off.stderr
    # An opt-in starts nothing, and names the command that does.
    enabled = node.command("enable", env={"COLUMNS": "200"})
    assert enabled.returncode == 0
    assert enabled.stdout.endswith(f"`systemctl --user start {SERVICE}` starts it again.\n")
    assert "start" not in json.loads(node.command("enable", "--json", "--home", "/home/alice/other").stdout)
    assert json.loads(node.command("enable", "--json").stdout)["start"] == f"systemctl --user start {SERVICE}"
    node.run(["systemctl", "--user", "start", SERVICE], check=True)
    assert "systemctl" not in node.command("enable").stdout
    assert node.command("disable").returncode == 0
    # It is removed, but the user's own drop-in stays.
    gone = node.command("service", "uninstall")
    assert (gone.returncode, gone.stdout) == (0, f"Removed /home/alice/{UNITS / SERVICE}.\n")
    assert [path.name for path in (node.home / UNITS).rglob("*")] == [f"{SERVICE}.d", "override.conf"]
    assert node.command("service", "uninstall").stdout == "No service is installed.\n"
    assert node.run(["systemctl", "--user", "status", SERVICE]).returncode == 4


def test_a_timer(node, reached):
    """Without a daemon, waiting events are delivered at once, and then again and again."""
    quick = "[Timer]\nOnUnitInactiveSec=200ms\nRandomizedDelaySec=0\nAccuracySec=1ms\n"
    install(node)
    emit(node)
    told = install(node, "--timer")
    assert (told["kind"], told["written"], told["removed"]) == ("timer", [ONCE, TIMER], [SERVICE])
    assert node.properties(ONCE, "TimeoutStartUSec") == {"TimeoutStartUSec": "infinity"}
    wait_until(lambda: len(reached.events()) == 1)
    override(node, TIMER, quick)
    node.run(["systemctl", "--user", "daemon-reload"], check=True)
    emit(node)
    wait_until(lambda: len(reached.events()) == 2)
    # An outage, another sidecar and an opt-out are no failures of the unit.
    reached.answer_by(lambda _: 503)
    emit(node)
    wait_until(lambda: node.properties(ONCE, "ExecMainStatus")["ExecMainStatus"] == "1")
    assert node.properties(ONCE, "Result") == {"Result": "success"}
    assert node.run(["systemctl", "--user", "--failed", "--quiet"]).stdout == ""
    assert "are kept" in status(node)["problems"][0]
    gone = json.loads(node.command("service", "uninstall", "--json").stdout)
    assert gone["removed"] == [TIMER, ONCE]
    assert node.properties(TIMER, "ActiveState") == {"ActiveState": "inactive"}


def test_over_tls(node, flwr_home):
    authority = trustme.CA()
    with TlsCollector(authority.issue_cert("localhost"), node.socket()) as reached:
        url = reached.url.replace("127.0.0.1", "localhost")
        homes.configure(flwr_home, url, ca_bundle=str(node.user_home / "ca.pem"))
        authority.cert_pem.write_to_path(str(node.home / "ca.pem"))
        node.give(node.home)
        install(node)
        emit(node)
        node.run(["systemctl", "--user", "reload", SERVICE], check=True)
        wait_until(lambda: len(reached.events()) == 1)


@pytest.mark.heavy
def test_foreign_and_edited_units_stay(node, flwr_home, reached):
    install(node)
    path = node.home / UNITS / SERVICE
    ours = path.read_text()
    path.write_text(ours.replace("Nice=10", "Nice=19"))
    refused = node.command("service", "install")
    assert refused.returncode == 1
    assert "was edited since" in refused.stderr
    assert f"systemctl --user edit {SERVICE}" in refused.stderr
    told = status(node)
    assert (told["author"], told["serves"]) == ("edited since", True)
    kept = node.command("service", "uninstall")
    assert "was edited since it was written; it is disabled" in kept.stdout
    assert path.read_text() == ours.replace("Nice=10", "Nice=19")
    stopped = node.properties(SERVICE, "ActiveState", "UnitFileState")
    assert {*stopped.values()} == {"inactive", "disabled"}
    # The original text is ours again.
    path.write_text(ours)
    assert install(node)["written"] == []
    path.unlink()
    path.symlink_to("/dev/null")
    masked = node.command("service", "install")
    assert masked.returncode == 1
    assert "was not written by this command" in masked.stderr
    assert node.command("service", "uninstall").stdout.endswith("is left as it is.\n")
    assert path.is_symlink()
    path.unlink()
    # The unit must allow a sink elsewhere, and an install brings it up to date.
    install(node)
    # The service notices at once, so the file has to be the user's own from the start.
    homes.configure(node.home / "next", "file:///home/alice/out/bodies.jsonl")
    node.give(node.home)
    settings = homes.telemetry(node.home / "next") / "config.toml"
    settings.replace(homes.telemetry(flwr_home) / settings.name)
    assert "/home/alice/out, which is no directory; make it" in node.command("service", "install").stderr
    (node.home / "out").mkdir()
    node.give(node.home)
    (problem, outdated) = status(node)["problems"]
    assert "in /home/alice/out, but the unit does not allow writing there" in problem
    assert "out of date" in outdated
    assert install(node)["written"] == [SERVICE]
    emit(node)
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until((node.home / "out" / "bodies.jsonl").exists)
    assert reached.events() == []


@pytest.mark.heavy
def test_two_login_nodes(node, flwr_home, tmp_path):
    """Every node sees the unit in the shared home. It runs only on the nodes where it was installed."""
    homes.configure(flwr_home, "file:///home/alice/.flwr/telemetry/bodies.jsonl")
    node.give(node.home)
    for arguments, unit, enabled in (([], SERVICE, SERVICE), (["--timer"], ONCE, TIMER)):
        told = install(node, *arguments)
        with machine.Machine(tmp_path, hostname="login2", home=node.home) as second:
            second.log_in()
            elsewhere = status(second)
            assert (elsewhere["serves"], elsewhere["active"]) == (False, "inactive (dead)")
            assert [word for word in elsewhere["problems"] if "login1, and not here" in word] != []
            assert second.properties(unit, "ExecMainPID") == {"ExecMainPID": "0"}
            both = install(second, *arguments)
            assert (both["written"], both["hosts"]) == ([enabled], ["login1", "login2"])
        # The first node still runs it, also in the next session.
        again = install(node, *arguments)
        assert (again["written"], again["pid"], again["hosts"]) == ([], told["pid"], ["login1", "login2"])
        node.log_out()
        node.log_in()
        wait_until(lambda: status(node)["active"].startswith("active"))
        node.command("service", "uninstall", check=True)


@pytest.mark.heavy
def test_a_second_home(node, flwr_home, reached):
    """Neither an install nor an install with `--timer` takes the service away from another home."""
    served = install(node)
    homes.configure(node.home / "other", reached.url)
    (node.home / "link").symlink_to("/home/alice/.flwr")
    node.give(node.home)
    for arguments in ([], ["--timer"]):
        refused = node.command("service", "install", "--home", "/home/alice/other", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "serves /home/alice/.flwr, and a user has one service" in refused.stderr
        assert "`flwr-telemetry service uninstall`" in refused.stderr
    assert status(node)["pid"] == served["pid"]
    # A link to the home is the same home.
    assert install(node, "--home", "/home/alice/link")["serves"]
    assert node.command("service", "uninstall").returncode == 0
    assert install(node, "--timer", "--home", "/home/alice/other")["home"] == "/home/alice/other"


REFUSED = {f"Protect{what}" for what in ("Clock", "KernelModules", "KernelLogs")}
REFUSED |= {"PrivateUsers", "PrivateDevices", "CapabilityBoundingSet"}


@pytest.mark.heavy
@pytest.mark.parametrize("node", [{"user_namespaces": False}], indirect=True)
def test_without_user_namespaces(node):
    homes.configure(node.home / ".flwr", "file:///home/alice/.flwr/telemetry/bodies.jsonl")
    node.give(node.home)
    for arguments, unit in (((), SERVICE), (("--timer",), ONCE)):
        done = node.command("service", "install", *arguments)
        assert done.returncode == 0, done.stderr
        assert "refuses user namespaces" in done.stdout
        assert not status(node)["namespaces"]
        drop_in = f"{unit}.d/50-flwr-telemetry-no-namespaces.conf"
        assert (node.home / UNITS / drop_in).exists()
        known = node.properties(unit, "PrivateUsers", "NoNewPrivileges", "Result")
        assert known == {"PrivateUsers": "no", "NoNewPrivileges": "yes", "Result": "success"}
        assert install(node, *arguments)["written"] == []
        assert status(node)["refused"].keys() == REFUSED
    emit(node)
    node.run(["systemctl", "--user", "start", ONCE], check=True)
    assert (node.home / ".flwr" / "telemetry" / "bodies.jsonl").exists()
    gone = json.loads(node.command("service", "uninstall", "--json").stdout)
    assert gone["removed"] == [TIMER, ONCE, drop_in]
    assert [*(node.home / UNITS).rglob("*")] == []


def test_where_no_service_can_be(tmp_path, home):
    if reason := machine.why_not():
        pytest.skip(reason)
    with machine.Machine(tmp_path) as node:
        homes.configure(node.home / ".flwr", "file:///home/alice/.flwr/telemetry/bodies.jsonl")
        node.give(node.home)
        refused = node.command("service", "install")
        assert refused.returncode == 1
        assert "log in by ssh or console (not by su or sudo)" in refused.stderr
        assert "`flwr-telemetryd --once`" in refused.stderr
        without = node.command("service", "install", env={"PATH": str(Path(sys.prefix) / "bin")})
        assert (without.returncode, "no systemd here" in without.stderr) == (1, True)
        env = {"HOME": "/home/alice", "PATH": "/usr/bin:/bin"}
        arguments = ["-P", "-m", "flwr_telemetryd.cli", "service", "install"]
        by_root = node.python(*arguments, user="root", env=env)
        assert (by_root.returncode, "belongs to another user" in by_root.stderr) == (5, True)
        assert node.command("service", "status").returncode == 1
        assert not (node.home / ".config").exists()
        # An uninstall works without a session.
        node.log_in()
        install(node)
        node.log_out()
        assert "no running systemd here" in node.command("service", "status").stdout
        assert node.command("service", "uninstall").returncode == 0
        assert [path for path in (node.home / UNITS).rglob("*") if not path.is_dir()] == []
