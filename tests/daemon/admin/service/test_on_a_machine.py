"""The service on a machine with a real systemd, journal and user: from its installation to its end."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import trustme

from tests.support import homes, machine, processes
from tests.support.processes import wait_until
from tests.support.tls import TlsCollector

SERVICE = "flwr-telemetryd.service"
ONCE = "flwr-telemetryd-once.service"
TIMER = "flwr-telemetryd-once.timer"
UNITS = Path(".config/systemd/user")
_SHIPPED = Path(__file__).resolve().parents[4] / "systemd"
_MOST_EXPOSED = 2.0


def emit(node, n=1, **env):
    """Let a workload of the user's report so many events."""
    code = f"from flwr_telemetry import event\nfor n in range({n}): event('PING', {{'n': n}}).result()"
    node.python("-c", code, env={**processes.NEVER, **env}, check=True)


def status(node, *arguments):
    """Give what `service status --json` tells."""
    return json.loads(node.command("service", "status", "--json", *arguments).stdout)


def install(node, *arguments, **options):
    """Install, which must lead to a service that serves, and give what is told."""
    done = node.command("service", "install", "--json", *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def settings_of_ones_own(node, unit, text):
    """Do what `systemctl --user edit` does."""
    path = node.home / UNITS / f"{unit}.d" / "override.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    node.give(node.home / ".config")
    return path


def test_a_life(login_node, reached):
    """It serves, delivers when it is told to, comes back when it is killed, and with the next session."""
    node = login_node
    settings_of_ones_own(node, SERVICE, "[Service]\nRestartSec=100ms\n")
    told = install(node)
    assert (told["serves"], told["kind"], told["written"]) == (True, "service", [SERVICE])
    assert told["active"] == "active (running)"
    assert told["problems"] == []
    assert node.properties(SERVICE, "Type", "NotifyAccess", "WatchdogUSec", "UnitFileState") == {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogUSec": "2min",
        "UnitFileState": "enabled",
    }
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
    # As the watchdog does it: where it hung is told, and nothing else of its memory.
    node.run(["systemctl", "--user", "kill", "--signal=ABRT", SERVICE], check=True)
    wait_until(lambda: node.properties(SERVICE, "NRestarts") == {"NRestarts": "2"})
    wait_until(lambda: status(node)["serves"])
    assert [*node.home.rglob("core*")] == []
    # What it said is in the user's own journal, with priorities.
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


def test_its_ends(login_node, flwr_home, reached):
    """It does not serve without a way out, is down after a stop, for good after a no, and gone at last."""
    node = login_node
    settings_of_ones_own(node, SERVICE, "[Service]\nRestartSec=100ms\n")
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
    assert (
        down.returncode,
        f"Problem: it does not run; `systemctl --user start {SERVICE}`" in down.stdout,
    ) == (1, True)
    assert homes.unsent_files(flwr_home) == []
    # A no ends it for good.
    node.run(["systemctl", "--user", "start", SERVICE], check=True)
    assert node.command("disable").returncode == 0
    wait_until(lambda: node.properties(SERVICE, "ActiveState")["ActiveState"] == "inactive")
    ended = node.properties(SERVICE, "SubState", "Result", "ExecMainStatus", "NRestarts")
    assert ended == {"SubState": "dead", "Result": "success", "ExecMainStatus": "3", "NRestarts": "0"}
    assert node.run(["systemctl", "--user", "start", SERVICE]).returncode != 0
    assert node.properties(SERVICE, "SubState", "ExecMainStatus") == {
        "SubState": "failed",
        "ExecMainStatus": "3",
    }
    off = node.command("service", "install")
    assert (off.returncode, off.stdout) == (3, "")
    assert "telemetry is off" in off.stderr
    # A yes starts nothing, and says what does.
    enabled = node.command("enable", env={"COLUMNS": "200"})
    assert enabled.returncode == 0
    assert enabled.stdout.endswith(f"`systemctl --user start {SERVICE}` starts it again.\n")
    assert "start" not in json.loads(node.command("enable", "--json", "--home", "/home/alice/other").stdout)
    assert json.loads(node.command("enable", "--json").stdout)["start"] == f"systemctl --user start {SERVICE}"
    node.run(["systemctl", "--user", "start", SERVICE], check=True)
    assert "systemctl" not in node.command("enable").stdout
    assert node.command("disable").returncode == 0
    # And away it goes, but for what somebody else put beside it.
    gone = node.command("service", "uninstall")
    assert (gone.returncode, gone.stdout) == (0, f"Removed /home/alice/{UNITS / SERVICE}.\n")
    assert [path.name for path in (node.home / UNITS).rglob("*")] == [f"{SERVICE}.d", "override.conf"]
    assert node.command("service", "uninstall").stdout == "No service is installed.\n"
    assert node.run(["systemctl", "--user", "status", SERVICE]).returncode == 4


def test_a_timer(login_node, reached):
    """Where no daemon may stay, what waits is delivered at once, and then again and again."""
    node = login_node
    quick = "[Timer]\nOnUnitInactiveSec=200ms\nRandomizedDelaySec=0\nAccuracySec=1ms\n"
    install(node)
    emit(node)
    told = install(node, "--timer")
    assert (told["kind"], told["written"], told["removed"]) == ("timer", [ONCE, TIMER], [SERVICE])
    assert node.properties(ONCE, "TimeoutStartUSec") == {"TimeoutStartUSec": "infinity"}
    wait_until(lambda: len(reached.events()) == 1)
    settings_of_ones_own(node, TIMER, quick)
    node.run(["systemctl", "--user", "daemon-reload"], check=True)
    emit(node)
    wait_until(lambda: len(reached.events()) == 2)
    # An outage, another sidecar and a no are no failures of the unit.
    reached.answer_by(lambda _: 503)
    emit(node)
    wait_until(lambda: node.properties(ONCE, "ExecMainStatus")["ExecMainStatus"] == "1")
    assert node.properties(ONCE, "Result") == {"Result": "success"}
    assert node.run(["systemctl", "--user", "--failed", "--quiet"]).stdout == ""
    assert "are kept" in status(node)["problems"][0]
    gone = json.loads(node.command("service", "uninstall", "--json").stdout)
    assert gone["removed"] == [TIMER, ONCE]
    assert node.properties(TIMER, "ActiveState") == {"ActiveState": "inactive"}


def test_over_tls(login_node, flwr_home):
    """What the sandbox forbids is nothing that TLS needs, nor the look-up of a name."""
    node = login_node
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


def test_what_is_not_ours_stays(login_node, flwr_home, reached):
    """A unit that somebody edited or wrote is neither written over nor removed, and the command says so."""
    node = login_node
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
    assert node.properties(SERVICE, "ActiveState", "UnitFileState") == {
        "ActiveState": "inactive",
        "UnitFileState": "disabled",
    }
    # As it was written it is ours again, and another version of us would write it anew.
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
    # A file to write to that lies elsewhere has to be allowed, and the unit is brought up to date for it.
    install(node)
    homes.configure(flwr_home, "file:///home/alice/out/bodies.jsonl")
    node.give(node.home)
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


def test_two_login_nodes(login_node, flwr_home, tmp_path):
    """Every node sees the unit in the shared home; it runs on those alone where it was installed."""
    first = login_node
    homes.configure(flwr_home, "file:///home/alice/.flwr/telemetry/bodies.jsonl")
    first.give(first.home)
    for arguments, unit, enabled in (([], SERVICE, SERVICE), (["--timer"], ONCE, TIMER)):
        told = install(first, *arguments)
        with machine.Machine(tmp_path, hostname="login2", home=first.home) as second:
            second.log_in()
            elsewhere = status(second)
            assert (elsewhere["serves"], elsewhere["active"]) == (False, "inactive (dead)")
            assert [word for word in elsewhere["problems"] if "login1, and not here" in word] != []
            assert second.properties(unit, "ExecMainPID") == {"ExecMainPID": "0"}
            both = install(second, *arguments)
            assert (both["written"], both["hosts"]) == ([enabled], ["login1", "login2"])
        # The first node has it as before, and its next session, too.
        again = install(first, *arguments)
        assert (again["written"], again["pid"], again["hosts"]) == ([], told["pid"], ["login1", "login2"])
        first.log_out()
        first.log_in()
        wait_until(lambda: status(first)["active"].startswith("active"))
        first.command("service", "uninstall", check=True)


def test_an_upgrade(login_node, flwr_home, reached):
    """What still runs an older version is named by `status`, and restarted by an install of the same unit."""
    node = login_node
    former = install(node)
    (path,) = wait_until(lambda: homes.find(flwr_home, "**/sidecar.json"), what="word of the sidecar")
    # As one of an older version has it; it writes that file again only when there is news.
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


def test_a_second_home(login_node, flwr_home, reached):
    """No home loses its service to another without a word, in neither way of serving."""
    node = login_node
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
    # Another name of the same home is no other home.
    assert install(node, "--home", "/home/alice/link")["serves"]
    assert node.command("service", "uninstall").returncode == 0
    assert install(node, "--timer", "--home", "/home/alice/other")["home"] == "/home/alice/other"


EVIL = 'it\'s 100%h $HOME ${USER} "q" \\n ;#ü'


def test_evil_paths(login_node):
    """Whatever a directory is called, systemd gets it as it is: the program, the home, the file of bodies."""
    node = login_node
    evil = node.home / EVIL
    (evil / "venv" / "bin").mkdir(parents=True)
    (evil / "venv" / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    (evil / "venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", evil / "venv")
    inside = node.user_home / EVIL
    home = evil / "flwr home"
    homes.configure(home, f"file://{inside}/out/a%20b.jsonl".replace("%h", "%25h").replace("#", "%23"))
    (evil / "out").mkdir()
    node.give(node.home)
    python = str(inside / "venv" / "bin" / "python")
    for arguments in (["install", "--json"], ["status", "--json"]):
        env = {"FLWR_HOME": str(inside / "flwr home"), "HTTPS_PROXY": "http://a%20b:$p@[::1]:1/"}
        done = node.run([python, "-m", "flwr_telemetryd.cli", "service", *arguments], env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert (told["home"], told["interpreter"]) == (str(inside / "flwr home"), python)
    emit(node, FLWR_HOME=str(inside / "flwr home"))
    node.run(["systemctl", "--user", "reload", SERVICE], check=True)
    wait_until((evil / "out" / "a b.jsonl").exists)
    process = node.inside(f"/proc/{told['pid']}")
    variables = dict(item.split("=", 1) for item in (process / "environ").read_text().split("\0") if item)
    assert variables["FLWR_HOME"] == str(inside / "flwr home")
    assert variables["HTTPS_PROXY"] == "http://a%20b:$p@[::1]:1/"
    assert (process / "cmdline").read_text().split("\0")[:5] == [
        python,
        "-P",
        "-m",
        "flwr_telemetryd",
        "--service",
    ]


def test_a_home_among_temporary_files(login_node):
    """What lies in /tmp is reached there, as the unit says."""
    node = login_node
    inside = "/tmp/alice's/.flwr"
    home = node.inside(inside)
    home.parent.mkdir()
    _serves_from(node, home, inside, "--home", inside)
    assert "\nPrivateTmp=no\n" in (node.home / UNITS / SERVICE).read_text()


def test_a_home_behind_a_link(login_node):
    """Where `~/.flwr` leads to another disk, that is what may be written to."""
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


_PROBE = r"""
import ctypes, errno, json, mmap, os, resource, socket, sys

def tried(what, *arguments, **options):
    try:
        what(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def write(path):
    return tried(lambda: open(path, "w").close())

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

neighbour = int(sys.argv[1])
found = {
    "writes": {path: write(path) for path in (
        "/home/alice/.flwr/telemetry/x", "/home/alice/.flwr/x", "/home/alice/x", "/home/alice/.config/x",
        "/run/user/60010/x", "/var/log/everybody's/x", "/proc/sys/kernel/hostname",
        "/sys/fs/cgroup/cgroup.procs",
    )},
    "temporary": os.listdir("/tmp"),
    "devices": sorted({"kmsg", "mem", "vda", "fuse", "null", "random"} & {*os.listdir("/dev")}),
    "user namespace": tried(call, "unshare", 0x10000000),
    "packets": tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
    "bluetooth": tried(socket.socket, 31, socket.SOCK_RAW, 1),
    "code": tried(mmap.mmap, -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "setuid": tried(os.chmod, "/home/alice/.flwr/telemetry/x", 0o4700),
    "priority": tried(os.setpriority, os.PRIO_PROCESS, 0, 19),
    "personality": tried(call, "personality", 8),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "umask": os.umask(0),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "node": os.uname().nodename,
    "names": bool(socket.getaddrinfo("localhost", 80)),
    "memory": "MemTotal" in open("/proc/meminfo").read(),
    "neighbour": [open(f"/proc/{neighbour}/cmdline").read().split("\0")[0], tried(os.kill, neighbour, 0)],
    "rights": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapBnd", "NoNew"))],
}
json.dump(found, open("/home/alice/.flwr/telemetry/found.json", "w"))
"""


def test_what_the_service_can_do(login_node, flwr_home, reached):
    """A program under the very lines of the unit writes to telemetry/ alone, and has what a sidecar needs."""
    node = login_node
    install(node)
    node.inside("/tmp/somebody's").touch()
    node.inside("/var/log/everybody's").mkdir()
    node.inside("/var/log/everybody's").chmod(0o777)
    (node.home / "probe.py").write_text(_PROBE)
    # One of the user's own, as a sidecar on demand is to a service.
    node.run(["systemd-run", "--user", "--unit=neighbour", "sleep", "1000"], check=True)
    neighbour = node.properties("neighbour.service", "MainPID")["MainPID"]
    text = re.sub(
        "^ExecStart=.*$",
        f"ExecStart={sys.base_prefix}/bin/python3 -I /home/alice/probe.py {neighbour}",
        (node.home / UNITS / SERVICE).read_text(),
        flags=re.MULTILINE,
    ).replace("Type=notify", "Type=oneshot")
    text = text.replace("PrivateTmp=no", "PrivateTmp=yes")  # as where these tests lie in /tmp themselves
    text = re.sub("^Restart=.*$", "", text, flags=re.MULTILINE)
    (node.home / UNITS / "probe.service").write_text(text)
    node.give(node.home)
    node.run(["systemctl", "--user", "daemon-reload"], check=True)
    done = node.run(["systemctl", "--user", "start", "probe.service"])
    assert done.returncode == 0, [entry["MESSAGE"] for entry in node.journal("--unit=probe.service")]
    found = json.loads((flwr_home / "telemetry" / "found.json").read_text())
    writes = found.pop("writes")
    assert writes.pop("/home/alice/.flwr/telemetry/x") == "done"
    assert {*writes.values()} == {"EROFS"}, writes
    assert found == {
        "temporary": [],
        "devices": ["null", "random"],
        "user namespace": "EPERM",
        "packets": "EAFNOSUPPORT",
        "bluetooth": "EAFNOSUPPORT",
        "code": "EPERM",
        "setuid": "EPERM",
        "priority": "EPERM",
        "personality": "EPERM",
        "core": [0, 0],
        "umask": 0o077,
        "nice": 10,
        "node": "login1",
        "names": True,
        "memory": True,
        "neighbour": ["/usr/bin/sleep", "done"],
        "rights": ["0000000000000000", "1"],
    }


@pytest.fixture
def strict_node(tmp_path):
    """Give a machine on which nobody may make a user namespace."""
    if reason := machine.why_not():
        pytest.skip(reason)
    with machine.Machine(tmp_path, user_namespaces=False) as made:
        made.log_in()
        yield made


def test_without_user_namespaces(strict_node):
    """Where the machine refuses them, the service is told to do without, and so is its user."""
    node = strict_node
    homes.configure(node.home / ".flwr", "file:///home/alice/.flwr/telemetry/bodies.jsonl")
    node.give(node.home)
    for arguments, unit in (((), SERVICE), (("--timer",), ONCE)):
        done = node.command("service", "install", *arguments)
        assert done.returncode == 0, done.stderr
        assert "refuses user namespaces" in done.stdout
        assert not status(node)["namespaces"]
        drop_in = f"{unit}.d/50-flwr-telemetry-no-namespaces.conf"
        assert (node.home / UNITS / drop_in).exists()
        assert node.properties(unit, "PrivateUsers", "NoNewPrivileges", "Result") == {
            "PrivateUsers": "no",
            "NoNewPrivileges": "yes",
            "Result": "success",
        }
        assert install(node, *arguments)["written"] == []
    emit(node)
    node.run(["systemctl", "--user", "start", ONCE], check=True)
    assert (node.home / ".flwr" / "telemetry" / "bodies.jsonl").exists()
    assert json.loads(node.command("service", "uninstall", "--json").stdout)["removed"] == [
        TIMER,
        ONCE,
        drop_in,
    ]
    assert [*(node.home / UNITS).rglob("*")] == []


def test_where_no_service_can_be(tmp_path, home):
    """Before a session, as root for somebody else, and without systemd: a sentence that says what to do."""
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
        # What was installed in a session can be taken away without one.
        node.log_in()
        install(node)
        node.log_out()
        assert "no running systemd here" in node.command("service", "status").stdout
        assert node.command("service", "uninstall").returncode == 0
        assert [path for path in (node.home / UNITS).rglob("*") if not path.is_dir()] == []


def test_a_service_that_cannot_start(login_node, reached):
    """Its last words are told, and the log is that of the sidecar where the journal is not to be read."""
    node = login_node
    settings_of_ones_own(node, SERVICE, "[Service]\nExecStartPre=/bin/sh -c 'echo no luck; exit 7'\n")
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


def test_the_units_are_clean_and_little_exposed(login_node, reached):
    """They are verified without a complaint, and both are rated at 2.0 or better."""
    node = login_node
    install(node)
    install(node, "--timer")
    files = sorted(map(str, _SHIPPED.glob("*.*r*")))
    written = [str(node.user_home / UNITS / name) for name in (ONCE, TIMER)]
    for path in [*files, *written]:
        if not path.endswith(".conf"):
            done = node.run(["systemd-analyze", "verify", "--user", path])
            assert (done.returncode, done.stderr) == (0, ""), path
    for unit in (ONCE, str(_SHIPPED / SERVICE)):
        offline = ["--offline=yes"] if "/" in unit else []
        rated = node.run(["systemd-analyze", "security", "--user", "--no-pager", *offline, unit]).stdout
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated)
        assert exposure is not None
        assert float(exposure[1]) <= _MOST_EXPOSED, rated


def test_both_units_are_hardened_alike():
    """What one may not do the other may not either, line by line; and every line has its reason."""
    texts = [(_SHIPPED / name).read_text() for name in (SERVICE, ONCE)]
    hardened = [
        re.search(r"# A training always comes first(.*?)(?:\n\[Install\]|\Z)", text, re.DOTALL)
        for text in texts
    ]
    assert hardened[0] is not None
    assert hardened[1] is not None
    assert hardened[0][1].strip() == hardened[1][1].strip()
    assert not re.search(r"\n\n[A-Z]", "\n".join(texts))
