"""In a container: a read-only root, users without a name, no shell, random host names."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flwr_telemetry import presence
from flwr_telemetryd.errors import ExitCode
from tests.support import homes, hosts, processes, readme, wire

NAMELESS = 54321
# The directory of the interpreter may be closed to other users.
NAMELESS_USER = f"setpriv --reuid {NAMELESS} --regid {NAMELESS} --clear-groups".split()
NAMELESS_USER += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
READ_ONLY = """
for kept in $KEPT; do mount --bind "$kept" "$kept"; done
for place in / /tmp /var/tmp /dev/shm; do
    if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
"""
VOLUME = """
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/volume
mount --bind "$OUTSIDE" /mnt/volume
"""
NO_SHELL = "mount --bind /dev/null /bin/sh"
EMIT = processes.PRELUDE + 'print(outcome(event("PING", {"n": int(sys.argv[1])})))'
TELL_CHILDREN = """
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no children")
"""


def in_mounts(mounts, words):
    """The command that runs these words in a namespace with these mounts."""
    bash = shutil.which("bash")
    if os.geteuid() or not bash or not shutil.which("unshare"):
        pytest.skip("a mount namespace needs root")
    script = f'set -e; mount --make-rprivate /\n{mounts}\nexec "$@"'
    return ["unshare", "--mount", bash, "-c", script, "bash", *words]


@pytest.mark.parametrize("kept", [True, False], ids=["home-is-a-volume", "nothing-can-be-written"])
def test_a_root_that_cannot_be_written_to(home, collector, kept):
    """A home on a volume works without another writable directory; without a volume the training goes on."""
    homes.configure(home, collector.url)
    env = {**processes.NEVER, "KEPT": str(home) if kept else ""}

    def run(*words):
        return processes.program(home, in_mounts(READ_ONLY, [sys.executable, *words]), env, cwd="/")

    emitted = run("-c", EMIT, "0")
    assert emitted.returncode == 0
    flushed = run("-m", "flwr_telemetryd.cli", "flush")
    looked = run("-m", "flwr_telemetryd.cli", "status", "--json")
    assert "Traceback" not in emitted.stderr + flushed.stderr + looked.stderr
    assert looked.returncode == 0
    if kept:
        assert (emitted.stdout, emitted.stderr) == ("spooled\n", "")
        assert flushed.returncode == ExitCode.OK, flushed.stderr
        assert wire.serials(collector.events()) == [0]
    else:
        assert "read-only; set FLWR_HOME to a writable directory" in emitted.stdout
        assert emitted.stderr.count("read-only") == 1
        disabled = run("-m", "flwr_telemetryd.cli", "disable")
        assert disabled.returncode == ExitCode.UNUSABLE
        assert "FLWR_TELEMETRY_ENABLED=0 switches telemetry off without a file" in disabled.stderr
        assert collector.requests == []


@pytest.mark.parametrize(
    "variables",
    [
        {"USER": None, "LOGNAME": None},
        {"USER": "somebody", "LOGNAME": None},
        {"USER": None, "LOGNAME": None, "HOME": "/"},
        {"USER": None, "LOGNAME": None, "HOME": None},
    ],
    ids=["no-name", "a-name-of-its-own", "home-is-the-root", "no-home"],
)
def test_a_user_without_a_password_entry(tmp_path, collector, variables):
    """Emitter, sidecar and commands need only the user's number."""
    home = tmp_path / "volume" / ".flwr"
    home.parent.mkdir(mode=0o700)
    homes.configure(home, collector.url)
    volume = home.parent
    for path in (volume, *volume.rglob("*")):
        os.chown(path, NAMELESS, NAMELESS)

    def run(*words):
        env = {**processes.NEVER, "OUTSIDE": str(volume), "FLWR_HOME": "/mnt/volume/.flwr", **variables}
        return processes.program(home, in_mounts(VOLUME, [*NAMELESS_USER, sys.executable, *words]), env)

    told = 'print(outcome(event("PING", {"n": 0, "path": "/home/somebody/x", "who": "somebody"})))'
    emitted = run("-c", processes.PRELUDE + told)
    assert (emitted.stdout, emitted.stderr) == ("spooled\n", "")
    assert run("-m", "flwr_telemetryd", "--once").returncode == ExitCode.OK
    (event,) = collector.events()
    if variables.get("USER") == "somebody":
        assert "somebody" not in json.dumps(event)
    for command in ("status", "inspect", "source", "fields"):
        done = run("-m", "flwr_telemetryd.cli", command)
        assert (done.returncode, done.stderr) == (0, ""), command
    doctor = run("-m", "flwr_telemetryd.cli", "doctor")
    assert "Traceback" not in doctor.stderr
    assert {path.stat().st_uid for path in home.rglob("*")} == {NAMELESS}


def test_without_a_shell(home, collector):
    """In an image with only Python, a sidecar is started, and is no child of the workload."""
    homes.configure(home, collector.url)
    done = processes.program(home, in_mounts(NO_SHELL, [sys.executable, "-c", EMIT + TELL_CHILDREN, "0"]))
    assert (done.stdout, done.stderr) == ("spooled\nno children\n", "")
    processes.wait_until(lambda: homes.sent(home))
    assert wire.serials(collector.events()) == [0]
    assert psutil.Process(processes.running_sidecar(home)).environ().keys() >= {presence.GUARD, "FLWR_HOME"}


def test_hosts_with_names_of_chance_leave_nothing_behind(home, collector):
    """Twenty containers used one volume; a later sidecar delivers, and removes their directories."""
    homes.configure(home, collector.url, adopt_after_s=0.05)
    options = {"env": processes.environment(home, processes.NEVER), "stdout": subprocess.DEVNULL}
    emits = [[sys.executable, "-c", EMIT, str(number)] for number in range(20)]
    on_hosts = [hosts.on(f"c{number:012x}", words) for number, words in enumerate(emits)]
    spawned = [subprocess.Popen(words, **options) for words in on_hosts]
    assert [child.wait(processes.PATIENCE_S) for child in spawned] == [0] * 20
    assert len(list(homes.telemetry(home).glob("c*/spool"))) == 20
    processes.wait_until(lambda: not processes.once(home).returncode and not homes.unsent_files(home))
    assert wire.serials(collector.events()) == list(range(20))
    processes.wait_until(lambda: processes.deliver(home) or not list(homes.telemetry(home).glob("c*/")))


def test_containers_that_live_shorter_than_the_burst_window(home, collector):
    """What one left is delivered by a later one, although each takes its sidecar with it."""
    homes.configure(home, collector.url, burst_window_s=2, respawn_s=3600, goodbye_s=0)
    numbers = itertools.count()

    def one_more():
        code = EMIT + "\nimport time; time.sleep(1)"
        words = [sys.executable, "-c", code, str(next(numbers))]
        assert processes.program(home, hosts.container(words)).stdout == "spooled\n"
        return wire.serials(collector.events())[:2] == [0, 1]

    processes.wait_until(one_more, what="the events of the first two containers")


def blocks():
    """The containers of both examples of the README: the service's, and a workload's."""
    yaml = pytest.importorskip("yaml")
    text = readme.SYSTEMD.read_text(encoding="utf-8")
    pod, compose = (
        yaml.safe_load(text.partition(f"<!-- {name} -->\n```yaml\n")[2].partition("\n```")[0])
        for name in ("kubernetes", "compose")
    )
    containers = [pod["spec"]["initContainers"][0], pod["spec"]["containers"][0]]
    for one in containers:
        one["environment"] = {variable["name"]: variable["value"] for variable in one["env"]}
    return {"kubernetes": containers, "compose": list(compose["services"].values())}


@pytest.mark.parametrize("example", ["kubernetes", "compose"])
def test_a_service_in_a_container_of_its_own(tmp_path, collector, example):
    """What the workload reports last is delivered at the end of the service, as another user than root."""
    service, workload = blocks()[example]
    volume = tmp_path / "volume"
    volume.mkdir()
    tmp_path.chmod(0o755)
    if example == "kubernetes":
        volume.chmod(0o777)  # a new emptyDir
    else:
        os.chown(volume, NAMELESS, NAMELESS)

    def inside(one, words):
        env = {name: value.replace("/flwr", str(volume)) for name, value in one["environment"].items()}
        path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        env = processes.environment(env["FLWR_HOME"], {**env, "PATH": path})
        host = "pod" if example == "kubernetes" else f"container-of-{one is service}"
        return hosts.on(host, [*hosts.container([]), *NAMELESS_USER, *words]), env

    words, env = inside(service, service["command"])
    home = Path(env["FLWR_HOME"])
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as outside:
        telemetry = homes.telemetry(home)
        processes.wait_until(lambda: list(telemetry.glob("service-*.json")), what="the service")
        homes.configure(home, collector.url, burst_window_s=3600, adopt_after_s=3600)
        os.chown(homes.config_file(home), NAMELESS, NAMELESS)
        assert "flwr-telemetry" in workload["command"]
        words, env = inside(workload, [sys.executable, "-c", EMIT, "7"])
        done = subprocess.run(words, env=env, text=True, capture_output=True, check=False)
        assert (done.stdout, done.stderr) == ("spooled\n", "")
        (first,) = psutil.Process(outside.pid).children()
        first.terminate()
        assert outside.wait(processes.PATIENCE_S) == 0
    assert wire.serials(collector.events()) == [7]
    assert homes.unsent_files(home) == []
