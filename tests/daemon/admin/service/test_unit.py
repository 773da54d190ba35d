"""The text of a unit: its values, their quoting, its author, and its effect under a real systemd."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from flwr_telemetryd.admin.service import unit
from flwr_telemetryd.admin.service.machine import Machine
from flwr_telemetryd.admin.service.unit import ONCE, SERVICE, TIMER, Author
from flwr_telemetryd.errors import ServiceError
from flwr_telemetryd.sidecar.process import DRAIN_S
from tests.support import homes
from tests.support.commands import answer_of, ran
from tests.support.processes import wait_until
from tests.support.service import UNITS, emit, install

_HOME = Path("/home/a/.flwr")
_SHIPPED = Path(__file__).resolve().parents[4] / "systemd"
_MOST_EXPOSED = 2.0


def _needs(home=_HOME, writes=(_HOME / "telemetry",), **more):
    return Machine("/v/bin/python", home, True, writes, **more)


def test_no_quotes_without_need():
    """The manager waits long enough for the last delivery."""
    text = unit.render(unit.shipped(SERVICE), _needs())
    assert "\nExecStart=/v/bin/python -P -m flwr_telemetryd --service\n" in text
    assert "\nReadWritePaths=-/home/a/.flwr/telemetry\n" in text
    assert "FLWR_HOME" not in text
    assert "--once" in unit.render(unit.shipped(ONCE), _needs())
    (stop_s,) = re.findall("^TimeoutStopSec=(.*)$", text, re.MULTILINE)
    assert int(stop_s) > DRAIN_S + 2  # looking up a name may take 2 s


@pytest.mark.parametrize("path", ["/a\nExecStart=/bin/evil", "/a\t", "/a\udcff"])
def test_values_that_no_unit_can_hold(path):
    with pytest.raises(ServiceError, match="cannot be named in a unit"):
        unit.render(unit.shipped(SERVICE), _needs(writes=(Path(path),)))


def test_the_values_of_a_unit_are_read_back():
    odd = Path('/o "dd\\%')
    text = unit.render(unit.shipped(SERVICE), _needs(home=odd, writes=(_HOME, odd)))
    assert unit.note_of(unit.sealed(text)) == {"home": str(odd), "interpreter": "/v/bin/python"}
    assert unit.note_of("[Unit]\n") == unit.note_of("# It serves {\n") == {}
    assert unit.allows(text, odd)
    assert unit.allows(text, odd / "below")
    assert not unit.allows(text, Path("/o"))


def test_on_which_machines_it_runs():
    text = unit.render(unit.shipped(SERVICE), _needs(host="b"), ["c", "a", "b"])
    assert unit.hosts_of(text) == ["a", "b", "c"]
    assert text.index("[Unit]") < text.index("\nConditionHost=|a\n") < text.index("[Service]")
    assert unit.hosts_of(unit.render(unit.shipped(TIMER), _needs(host="b"))) == ["b"]
    assert unit.hosts_of(unit.render(unit.shipped(ONCE), _needs(host="b"))) == []
    assert unit.hosts_of(unit.render(unit.shipped(SERVICE), _needs(), ["a"])) == []


def test_the_author_of_a_text():
    ours = unit.sealed("a\nb\n")
    assert unit.author(None) is Author.NONE
    assert unit.author(ours) is Author.OURS
    assert unit.author(ours + "\n") is unit.author(ours[:-1]) is Author.EDITED
    assert unit.author("a\nb\n") is unit.author("") is unit.author("#\n" + ours) is Author.FOREIGN


EVIL = 'it\'s 100%h $HOME ${USER} "q" \\n ;#ü'


def test_evil_paths(node):
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
    words = (process / "cmdline").read_text().split("\0")
    assert words[:5] == [python, "-P", "-m", "flwr_telemetryd", "--service"]


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


def test_the_restrictions_of_the_service(node, flwr_home, reached):
    install(node)
    node.inside("/tmp/somebody's").touch()
    node.inside("/var/log/everybody's").mkdir()
    node.inside("/var/log/everybody's").chmod(0o777)
    (node.home / "probe.py").write_text(_PROBE)
    # A process of the same user, like a sidecar on demand.
    node.run(["systemd-run", "--user", "--unit=neighbour", "sleep", "1000"], check=True)
    neighbour = node.properties("neighbour.service", "MainPID")["MainPID"]
    text = re.sub(
        "^ExecStart=.*$",
        f"ExecStart={sys.base_prefix}/bin/python3 -I /home/alice/probe.py {neighbour}",
        (node.home / UNITS / SERVICE).read_text(),
        flags=re.MULTILINE,
    ).replace("Type=notify", "Type=oneshot")
    text = text.replace("PrivateTmp=no", "PrivateTmp=yes")  # it is off if these tests run below /tmp
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
        **dict.fromkeys(("user namespace", "code", "setuid", "priority", "personality"), "EPERM"),
        **dict.fromkeys(("packets", "bluetooth"), "EAFNOSUPPORT"),
        "core": [0, 0],
        "umask": 0o077,
        "nice": 10,
        "node": "login1",
        "names": True,
        "memory": True,
        "neighbour": ["/usr/bin/sleep", "done"],
        "rights": ["0000000000000000", "1"],
    }


def test_the_units_are_clean_and_little_exposed(node, reached):
    install(node)
    install(node, "--timer")
    files = sorted(map(str, _SHIPPED.glob("*.*r*")))
    written = [str(node.user_home / UNITS / name) for name in (ONCE, TIMER)]
    for path in [*files, *written]:
        if not path.endswith(".conf"):
            done = node.run(["systemd-analyze", "verify", "--user", path])
            assert (done.returncode, done.stderr) == (0, ""), path
    for name in (ONCE, str(_SHIPPED / SERVICE)):
        offline = ["--offline=yes"] if "/" in name else []
        rated = node.run(["systemd-analyze", "security", "--user", "--no-pager", *offline, name]).stdout
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated)
        assert exposure is not None
        assert float(exposure[1]) <= _MOST_EXPOSED, rated


def test_both_units_are_hardened_alike():
    texts = [(_SHIPPED / name).read_text() for name in (SERVICE, ONCE)]
    hardened = re.compile(r"# A training always comes first(.*?)(?:\n\[Install\]|\Z)", re.DOTALL)
    service, once = (hardened.search(text)[1].strip() for text in texts)
    assert service == once
    assert not re.search(r"\n\n[A-Z]", "\n".join(texts))


def test_the_epilog_names_this_installation(home):
    assert "\nCOMMAND='/a b/flwr-telemetryd' # in an" in unit.epilog(Path("/a b/flwr-telemetryd"))
    printed = ran(home, "service", "epilog").stdout
    assert f"\nCOMMAND={Path(sys.executable).with_name('flwr-telemetryd')} # in an" in printed
    units = answer_of(home, "service", "install", "--print")
    assert list(units) == [SERVICE]
    assert str(home) in units[SERVICE]
