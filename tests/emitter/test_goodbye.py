"""The exit of a container's first process delivers what would be lost with it, and no other exit waits."""

import fcntl
import shutil
import subprocess
import sys

import pytest

from tests.support import homes, hosts, processes, records, wire

ONE_EVENT = 'event("PING", {"n": 0})\n'
ENDS = {
    "return": ("", 0),
    "sys_exit": ("sys.exit(3)", 3),
    "exception": ("raise RuntimeError", 1),
    "a_handler_of_sigterm": (
        """
import signal
signal.signal(signal.SIGTERM, lambda *_: (event("PING", {"n": 1}), sys.exit(4)))
os.kill(os.getpid(), signal.SIGTERM)
""",
        4,
    ),
    "an_exit_handler_that_reports": ('import atexit\natexit.register(event, "PING", {"n": 1})', 0),
    "amid_an_event_of_another_thread": (
        """
import threading
from flwr_telemetry import emit
threading.Thread(target=emit._emitter()._lock.acquire, daemon=True).start()
sys.exit(5)
""",
        5,
    ),
}
ALWAYS_S = 3600  # a process that waits in vain is killed by the test


def python(code):
    return [sys.executable, "-c", processes.PRELUDE + code]


@pytest.mark.parametrize(("code", "status"), ENDS.values(), ids=ENDS)
def test_process_1_delivers_before_it_ends(home, collector, code, status):
    """The burst window is not over, and the sidecar that the event starts ends with the container."""
    homes.configure(home, collector.url, burst_window_s=3600, goodbye_s=processes.PATIENCE_S / 2)
    done = processes.program(home, hosts.container(python(ONE_EVENT + code)))
    assert done.returncode == status
    assert wire.serials(collector.events()) == ([0, 1] if "PING" in code else [0])
    assert not processes.sidecars(home)


@pytest.mark.parametrize("init", ["docker-init", "tini", "dumb-init", "catatonit"])
def test_the_child_of_a_known_init_does_so_too(home, collector, tmp_path, init):
    """Docker's own init is tini under another name."""
    program = shutil.which("tini" if init == "docker-init" else init)
    if program is None:
        pytest.skip(f"{init} is not installed")
    shutil.copy(program, tmp_path / init)
    homes.configure(home, collector.url, burst_window_s=3600, goodbye_s=processes.PATIENCE_S / 2)
    words = hosts.container([str(tmp_path / init), "--", *python(ONE_EVENT)])
    assert processes.program(home, words).returncode == 0
    assert wire.serials(collector.events()) == [0]


@pytest.mark.parametrize(
    ("setup", "told"),
    [("", "mount a volume for FLWR_HOME"), ("sys.frozen = True\n", "Events end with this container")],
    ids=["a collector hangs", "no sidecar can be started"],
)
def test_what_is_lost_is_said(home, collector, setup, told):
    homes.configure(home, collector.url, goodbye_s=0.5, request_deadline_s=600)
    collector.answer_with("hang")
    done = processes.program(home, hosts.container(python(setup + ONE_EVENT)))
    assert done.returncode == 0
    assert told in done.stderr
    assert done.stderr.count("\n") == 1 + bool(setup)


def test_a_signal_ends_the_wait(home, collector):
    homes.configure(home, collector.url, goodbye_s=ALWAYS_S, request_deadline_s=600)
    collector.answer_with("hang")
    end = """
import signal, threading
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
def soon():
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGUSR1)
threading.Thread(target=soon, daemon=True).start()
sys.exit(6)
"""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    words, env = hosts.container(python(ONE_EVENT + end)), processes.environment(home)
    child = subprocess.Popen(words, env=env, text=True, **streams)
    processes.wait_until(lambda: collector.requests)
    assert child.poll() is None
    told = child.communicate("\n", timeout=processes.PATIENCE_S)
    assert (child.returncode, told) == (6, ("", ""))


SHELL = ["sh", "-c", '"$@"; exit', "sh"]
OFF = 'open(os.environ["FLWR_HOME"] + "/telemetry/config.toml", "a").write("enabled = false")'
FORK = "if os.fork():\n os.wait(); os._exit(0)\n" + ONE_EVENT + "sys.exit(0)"
PROCESS = """
import multiprocessing
child = multiprocessing.get_context({!r}).Process(target=event, args=["PING"])
child.start(), child.join(), os._exit(child.exitcode)
"""
NO_WAIT = {
    "goodbye_s is 0": {"settings": {"goodbye_s": 0}},
    "never": {"env": processes.NEVER},
    "never by a setting": {"settings": {"sidecar": "never"}},
    "a batch job": {"env": {"SLURM_JOB_ID": "1"}},
    "in a sidecar": {"env": {"FLWR_TELEMETRYD": "1"}},
    "off from the start": {"env": {"FLWR_TELEMETRY_ENABLED": "0"}},
    "switched off": {"code": ONE_EVENT + 'os.environ["FLWR_TELEMETRY_ENABLED"] = "0"'},
    "switched off by a file": {"code": ONE_EVENT + OFF},
    "nothing emitted": {"code": ""},
    "a shell is process 1": {"inside": SHELL},
    "a hard exit": {"code": ONE_EVENT + "os._exit(0)"},
    "another program": {"code": ONE_EVENT + 'os.execv(sys.executable, [sys.executable, "-c", ""])'},
    "a forked child": {"code": FORK},
    **{f"a {kind}ed worker": {"code": PROCESS.format(kind)} for kind in ("fork", "spawn")},
}


@pytest.mark.parametrize("scene", NO_WAIT.values(), ids=NO_WAIT)
def test_no_other_exit_waits(home, scene):
    """Even if something waits, and a sidecar seems to live that could be asked."""
    homes.configure(home, **{"goodbye_s": ALWAYS_S, **scene.get("settings", {})})
    homes.put(home, records.series(1))
    words = hosts.container([*scene.get("inside", []), *python(scene.get("code", ONE_EVENT))])
    with (homes.host(home) / "sidecar.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = processes.program(home, words, scene.get("env"))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (homes.spool(home) / "flush").exists()


@pytest.mark.parametrize("proc", ["", "mount -t tmpfs none /proc"], ids=["of-another-namespace", "hidden"])
def test_an_unknown_process_1_is_no_init(home, collector, proc):
    if shutil.which("tini") is None:
        pytest.skip("tini is not installed")
    homes.configure(home, collector.url, goodbye_s=ALWAYS_S)
    collector.answer_with("hang")
    unshare = [word for word in hosts.container(["--mount"]) if word != "--mount-proc"]
    inside = ["sh", "-c", f'{proc or ":"}; exec "$@"', "sh", "tini", "--"]
    assert processes.program(home, [*unshare, *inside, *python(ONE_EVENT)]).returncode == 0


def test_a_home_on_a_volume_outlives_the_container(home, tmp_path, collector):
    homes.configure(home, collector.url, goodbye_s=ALWAYS_S)
    collector.answer_with("hang")
    script = 'cp -a "$1" "$2" && mount -t tmpfs -o mode=700 none "$1" && cp -a "$2/." "$1"'
    script += ' && shift 2 && exec "$@"'
    words = ["sh", "-c", script, "sh", str(home), str(tmp_path / "kept")]
    unshare = hosts.container(["--mount"])
    assert processes.program(home, [*unshare, *words, *python(ONE_EVENT)]).returncode == 0
