"""The start of a sidecar: what it inherits, what it finds, and what this process may have replaced."""

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

from flwr_telemetry import bootstrap, detached, package_files, spawn, start_errors
from flwr_telemetry.errors import StartError
from flwr_telemetry.layout import Home
from flwr_telemetry.presence import GUARD
from tests.support import faults, homes, hosts, processes

EMIT = processes.PRELUDE + "print(outcome(event('PING')))\n"
BASE = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
"""An interpreter that has none of our packages."""

SECRETS = "AWS_SECRET_ACCESS_KEY HF_TOKEN FLWR_TELEMETRY_ENABLED FLWR_TELEMETRY_PARTNER_ID LD_PRELOAD".split()
SECRETS += "PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE PYTHONPATH NETRC path".split()
NEEDED = "PATH HOME LANG https_proxy SSL_CERT_FILE TMPDIR PYTHONHOME".split()


def test_what_a_sidecar_gets_of_our_environment():
    """It gets the variables for its start and the network; no secret, no setting, no hook."""
    environ = {**dict.fromkeys([*SECRETS, *NEEDED], "/x"), "FLWR_HOME": "/elsewhere"}
    passed = spawn.sidecar(Home(Path("/h")), environ).environment
    found = passed.pop(bootstrap.PACKAGE_FILES).split(bootstrap.SEPARATOR)
    assert found == ["=".join(item) for item in package_files.find().items()]
    assert passed == {**dict.fromkeys(NEEDED, "/x"), "FLWR_HOME": "/h", GUARD: "1"}


# What it finds


@pytest.fixture
def target(tmp_path):
    """Give a directory with links to all packages, as an environment's view has it."""
    target = tmp_path / "target"
    target.mkdir()
    for name, file in package_files.find().items():
        (target / name).symlink_to(Path(file).parent)
    return target


def an_entry_each(target):
    """Make one directory for each package; the value of PYTHONPATH."""
    for package in list(target.iterdir()):
        (target.parent / "each" / package.name).mkdir(parents=True)
        (target.parent / "each" / package.name / package.name).symlink_to(package.resolve())
    return os.pathsep.join(str(path) for path in sorted((target.parent / "each").iterdir()))


def decoys(directory, marker):
    """Put modules and packages there that must never run in a sidecar."""
    text = f"open({str(marker)!r}, 'a').write(__name__)\nraise SystemExit('a decoy')\n"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("requests", "certifi", "msgpack"):
        (directory / name).mkdir()  # that of msgpack is one of data
    packages = "requests/__init__.py", "certifi/__init__.py"
    for name in ("usercustomize.py", "sitecustomize.py", "psutil.py", "json.py", *packages):
        (directory / name).write_text(text)
    (directory / "decoy.pth").write_text(f"import sys; exec({text!r})\n")


def renamed(target):
    """Move a package into a directory of another name, where only a finder of its own finds it."""
    (target / "flwr_telemetryd").rename(target.parent / "site/src")


FINDER = """
import importlib.util
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "flwr_telemetryd":
            return importlib.util.spec_from_file_location(
                name, f"{SITE}/src/__init__.py", submodule_search_locations=[f"{SITE}/src"]
            )
sys.meta_path.append(Finder)
"""
INSERT = "import sys; sys.path.insert(0, TARGET)\n"
SITE = "import site; site.addsitedir(SITE)\n"
LOAD = "import flwr_telemetry, flwr_telemetryd, msgpack, psutil, requests; del sys.path[0]\n"
FOUND = {
    "an-entry-each": (["-s"], "", an_entry_each),
    "a-relative-entry": (["-s"], "", lambda target: os.path.relpath(target, target.parent / "cwd")),
    "sys.path-no-site": (["-S", "-E"], INSERT, None),
    "addsitedir": (["-s"], SITE, None),
    "editable": (["-s"], INSERT + FINDER, renamed),
    "loaded-and-hidden": (["-I"], INSERT + LOAD, None),
    "beside-the-program": (["-s"], "", None),  # as `pip install --target .` makes it
}


@pytest.mark.parametrize(("switches", "setup", "path"), FOUND.values(), ids=FOUND)
def test_a_sidecar_finds_what_its_parent_found_and_nothing_else(
    home, collector, tmp_path, target, switches, setup, path
):
    """Decoys in the user's own site and in the working directory never run."""
    homes.configure(home, collector.url)
    marker, base = tmp_path / "decoy", home.parent / ".local"
    decoys(base / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages", marker)
    decoys(tmp_path / "cwd", marker)
    for name in ("json.py", "sitecustomize.py"):  # the interpreter itself may find it by a relative entry
        (tmp_path / "cwd" / name).unlink()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/some.pth").write_text(f"{target}\n")
    code = f"TARGET, SITE = {str(target)!r}, {str(tmp_path / 'site')!r}\n{setup}{EMIT}"
    (target / "program.py").write_text(code)
    words = [BASE, *switches, *(["-c", code] if setup or path else [target / "program.py"])]
    done = processes.program(home, words, {"PYTHONPATH": path and path(target)}, cwd=tmp_path / "cwd")
    assert (done.stdout, done.stderr) == ("spooled\n", done.stderr if "Flower reports" in done.stderr else "")
    processes.wait_until(lambda: len(collector.events()) == 1, what="a delivery")
    processes.wait_for_end(home)
    assert not marker.exists()
    assert start_errors.read(Home(home).host()) is None


def test_a_program_that_can_start_no_sidecar_says_so(home, target, tmp_path):
    """Our package lies in an archive: the event is spooled; a warning, `status` and `doctor` tell it."""
    homes.configure(home, "http://127.0.0.1:9/")
    shutil.make_archive(str(tmp_path / "app"), "zip", target, "flwr_telemetry")
    (target / "flwr_telemetry").unlink()
    env = {"PYTHONPATH": f"{tmp_path / 'app.zip'}{os.pathsep}{target}"}
    code = f"{EMIT}import time; time.sleep(1.1)\n{EMIT}"
    done = processes.program(home, [BASE, "-s", "-c", code], env)
    assert done.stdout == "spooled\nspooled\n"
    assert done.stderr.count("the package flwr_telemetry lies in an archive") == 1
    assert not processes.sidecars(home)
    (problem,) = json.loads(processes.command(home, "status", "--json").stdout)["problems"]
    assert "an archive, or was removed; the events wait: run a service" in problem
    assert "lies in an archive" in processes.command(home, "doctor").stdout


@pytest.mark.parametrize("value", [None, "", "/gone/python3", "/bin/sh"])
def test_a_program_without_an_interpreter(monkeypatch, value):
    monkeypatch.setattr(sys, "executable", value)
    with pytest.raises(StartError, match="no Python for a sidecar"):
        spawn.sidecar(Home(Path("/h")), {})


def test_an_interpreter_by_a_link_and_relative_paths_of_certificates(monkeypatch, tmp_path):
    """A sidecar has another working directory, and has to find the same files."""
    link = tmp_path / "py3"
    link.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(link))
    monkeypatch.chdir(tmp_path)
    given = {"SSL_CERT_FILE": "a.pem", "SSL_CERT_DIR": "a:/b", "REQUESTS_CA_BUNDLE": "", "no_proxy": "a"}
    sidecar = spawn.sidecar(Home(Path("/h")), given)
    there = {**given, "SSL_CERT_FILE": f"{tmp_path}/a.pem", "SSL_CERT_DIR": f"{tmp_path}/a:/b"}
    assert {name: sidecar.environment[name] for name in given} == there
    assert sidecar.interpreter[0] == str(link)


# What it inherits

LOOK = """
import json, os, signal, sys
def read(path):
    return open(path).read().strip()
told = {
    "oom": int(read("/proc/self/oom_score_adj")),
    "class": int(read("/proc/self/stat").rpartition(")")[2].split()[38]),
    "processors": sorted(os.sched_getaffinity(0)),
    "files": sorted(set(map(int, os.listdir("/proc/self/fd"))) - {0, 1, 2, 3}),
    "directory": os.getcwd(),
    "is_alone": os.getsid(0) not in (SESSION, 0),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}
with open("told.part", "w") as file:
    json.dump(told, file)
os.rename("told.part", "told")
sys.stderr.write("its last words")
"""


@pytest.fixture
def stand_in(host):
    """Give a start of a program in the place of a sidecar, and what that tells of itself."""
    for path in (host.telemetry, host.root):
        path.mkdir(parents=True, mode=0o700)

    def start():
        code = LOOK.replace("SESSION", str(os.getsid(0)))
        spawn.start(spawn.Sidecar([sys.executable, "-S"], ["-c", code], {}), host)
        processes.wait_until((host.root / "told").exists)
        processes.wait_until(lambda: start_errors.read(host).last_line)
        return json.loads((host.root / "told").read_text())

    return start


@pytest.mark.parametrize("shell", ["/bin/sh", "/nowhere/sh", "/etc/passwd"])
def test_what_lies_between_prepares_a_sidecar(host, stand_in, monkeypatch, shell):
    """It is killed first if memory runs out, and inherits processors, but no real-time class and no file."""
    monkeypatch.setattr(detached, "_SHELL", shell)
    file = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(file, True)
    processors, before = os.sched_getaffinity(0), signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        os.sched_setaffinity(0, [min(processors)])
        with contextlib.suppress(OSError):  # not every test machine allows it
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        is_real_time = os.sched_getscheduler(0) == os.SCHED_FIFO
        told = stand_in()
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, processors)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGCHLD, before)
        os.close(file)
    assert told == {
        "oom": 1000,
        "class": os.SCHED_OTHER,
        "processors": [min(processors)],
        "files": [],
        "directory": str(host.root),
        "is_alone": True,
        "blocked": [],
        "sigchld": True,
    }, f"real-time: {is_real_time}"
    found = start_errors.read(host)
    assert (found.starts, found.last_line) == (1, "its last words")


def test_an_old_c_library_and_a_shell_that_fails(stand_in, monkeypatch):
    """Where neither session nor class can be set beforehand, the sidecar starts all the same."""
    monkeypatch.setattr(detached, "_SHELL", "/bin/false")
    real = detached.posix.posix_spawn

    def refuse(*arguments, **options):
        if "setsid" in options:
            raise NotImplementedError
        return real(*arguments, **options)

    monkeypatch.setattr(detached.posix, "posix_spawn", refuse)
    for _ in ("shell", "interpreter"):  # it fails for both, as in musl
        faults.fail_once(monkeypatch, "sched_getscheduler", errno.ENOSYS, module=detached.posix)
    assert stand_in()["oom"] == 1000


def test_nothing_can_be_started(host, monkeypatch):
    """There is neither a shell nor an interpreter, or the program forbids it: one kind of error, no child."""
    host.root.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(detached, "_SHELL", "/nowhere/sh")
    children = psutil.Process().children()
    with pytest.raises(StartError, match="No such file"):
        spawn.start(spawn.Sidecar(["/nowhere/python"], [], {}), host)
    assert "No such file" in start_errors.read(host).last_line
    with pytest.raises(StartError, match="/bin/false ended with 1"):
        spawn.start(spawn.Sidecar(["/bin/false"], [], {}), host)
    assert psutil.Process().children() == children


# What the program has replaced

NO = "class No(Exception): pass\n"
REPLACED = {
    "popen": "import subprocess\nsubprocess.Popen = subprocess.run = fail\n",
    "os": "for name in ('fork', 'waitpid', 'posix_spawn', 'posix_spawnp'): setattr(os, name, fail)\n",
    "reaps-all": "import signal\nsignal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))\n",
    "ignores-children": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n",
    "proc-read-only": "",
}
CHILDREN = """
import psutil
print(psutil.Process().children())
"""


@pytest.mark.parametrize("kind", REPLACED)
def test_a_program_that_replaces_what_starts_processes(home, collector, kind):
    """As gevent and the guards of test suites do: the event is delivered, and no child is left."""
    homes.configure(home, collector.url)
    words = [
        sys.executable,
        "-c",
        f"{NO}import os\ndef fail(*_, **__): raise No\n{REPLACED[kind]}{EMIT}{CHILDREN}",
    ]
    if kind == "proc-read-only":
        script = 'mount --bind /proc /proc && mount -o remount,ro,bind /proc && exec "$@"'
        words = [*hosts.private_mounts(), "sh", "-c", script, "sh", *words]
    done = processes.program(home, words)
    assert done.stdout == "spooled\n[]\n", done.stderr
    processes.wait_until(lambda: len(collector.events()) == 1, what="a delivery")


def test_a_program_that_forbids_processes(home):
    """An audit hook raises an error of its own: spooled, one warning, no child."""
    homes.configure(home, "http://127.0.0.1:9/")
    hook = """
import sys, time
def hook(name, _):
    if name in ("subprocess.Popen", "os.posix_spawn", "os.fork"): raise No("not here")
sys.addaudithook(hook)
"""
    done = processes.run(home, ["-c", f"{NO}{hook}{EMIT}time.sleep(1.1)\n{EMIT}{CHILDREN}"])
    assert done.stdout == "spooled\nspooled\n[]\n"
    assert done.stderr.count("No sidecar could be started (No: not here); events wait in the spool") == 1
    assert not processes.sidecars(home)


# The name of the process


def test_a_sidecar_has_a_name_and_tells_its_home(home, collector):
    """`pgrep` finds it by its name; its arguments and its environment name the home."""
    homes.configure(home, collector.url, idle_exit_s=600)
    processes.emit(home)
    sidecar = psutil.Process(processes.running_sidecar(home))
    assert Path(f"/proc/{sidecar.pid}/comm").read_text() == "flwr-telemetryd\n"
    assert sidecar.cmdline()[-2:] == ["flwr-telemetryd", str(home)]
    assert sidecar.environ()["FLWR_HOME"] == str(home)


@pytest.mark.parametrize("when", ["before-it-delivers", "after-a-failure", "replaced"])
def test_a_sidecar_whose_program_is_removed_ends_quietly(home, collector, tmp_path, when):
    """As by `pip uninstall` or an upgrade: no traceback, and the events wait for another program."""
    is_early = when != "after-a-failure"
    homes.configure(home, collector.url, burst_window_s=600 if is_early else 0.1, idle_exit_s=600)
    collector.answer_with(*[503] * 1000)
    program = tmp_path / "program"
    for name, file in package_files.find().items():
        if name.startswith("flwr_"):
            shutil.copytree(Path(file).parent, program / name)
        else:
            (program / name).symlink_to(Path(file).parent)
    done = processes.program(home, [BASE, "-s", "-c", EMIT], {"PYTHONPATH": str(program)})
    assert done.stdout == "spooled\n", done.stderr
    processes.running_sidecar(home)
    processes.wait_until(lambda: is_early or collector.requests)
    for name in ("flwr_telemetry", "flwr_telemetryd"):
        (program / name).rename(tmp_path / name)
        if when == "replaced":
            shutil.copytree(tmp_path / name, program / name, copy_function=shutil.copyfile)
    processes.wait_for_end(home)
    log = Home(home).host().log.read_text()
    assert "ending: its program was removed or replaced" in log
    assert "Traceback" not in log
    assert start_errors.read(Home(home).host()) is None
    assert homes.unsent_files(home)


def test_a_container_without_dev_null(home):
    """The reason names the file that is missing, not the interpreter."""
    homes.configure(home, "http://127.0.0.1:9/")
    done = processes.run(home, ["-c", f"{processes.PRELUDE}os.devnull = '/gone/null'\n{EMIT}"])
    assert done.stdout == "spooled\n"
    assert "No such file or directory: '/gone/null'); events wait in the spool" in done.stderr
    assert "'/gone/null'" in str(start_errors.read(Home(home).host()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("del sys.executable", "this program has no Python for a sidecar (sys.executable is None)"),
        ("sys.executable = b'/python'", "TypeError: "),
        ("sys.executable = '/python\\0'", "ValueError: "),
    ],
)
def test_what_an_embedding_program_has_made_of_its_interpreter(home, change, reason):
    """The event is in the spool, one warning gives the reason, and so does `status`."""
    homes.configure(home, "http://127.0.0.1:9/")
    done = processes.run(home, ["-c", f"{processes.PRELUDE}{change}\n{EMIT}"])
    assert done.stdout == "spooled\n"
    assert f"No sidecar could be started ({reason}" in done.stderr
    assert "please report" not in done.stderr
    assert reason in str(start_errors.read(Home(home).host()))
