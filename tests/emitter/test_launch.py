"""The start of a sidecar: its guards one by one, in their order, and its environment."""

import fcntl
import os
from pathlib import Path

import pytest

import flwr_telemetry
import flwr_telemetryd
from flwr_telemetry import files, launch
from flwr_telemetry.errors import TelemetryError
from flwr_telemetry.launch import Wake
from flwr_telemetry.layout import Home
from tests.support import homes, processes

NOW_S = 1_800_000_000


@pytest.fixture
def paths(home):
    host = Home(home).host()
    files.append_bytes(homes.put(home, []), b"x")
    os.utime(host.events, (NOW_S, NOW_S))
    return host


@pytest.fixture
def living(paths):
    with paths.lock.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def started(paths, at_s, *, size=8):
    """Leave the trace of a start at that time of the file system; of size 0, that of a mere probe."""
    files.append_bytes(paths.lock, b"started\n"[:size])
    os.utime(paths.lock, (at_s, at_s))


def beat(home, at_s):
    path = Home(home).heartbeat("other")
    path.touch()
    os.utime(path, (at_s, at_s))


def wake(home, environ=None, setting="auto", *, respawn_s=10, may=True):
    return launch.wake(
        Home(home),
        Home(home).host(),
        setting=setting,
        respawn_s=respawn_s,
        environ=environ or {},
        may_create=lambda: may,
    )


def test_a_living_sidecar_comes_before_everything(home, living):
    beat(home, NOW_S)
    assert wake(home, {launch.GUARD: "1"}, "never") is Wake.ALIVE


FORBIDDEN = {
    "never": ({}, "never"),
    "guard": ({launch.GUARD: "1"}, "always"),
    "guard_of_any_value": ({launch.GUARD: ""}, "always"),
    "slurm": ({"SLURM_JOB_ID": "1"}, "auto"),
    "pbs": ({"PBS_JOBID": "1.x"}, "auto"),
    "lsf": ({"LSB_JOBID": "1"}, "auto"),
    "flux": ({"FLUX_JOB_ID": "f1"}, "auto"),
    "sge": ({"JOB_ID": "1", "SGE_ROOT": "/sge"}, "auto"),
}


@pytest.mark.parametrize(("environ", "setting"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_who_may_not_start_one(home, paths, environ, setting):
    """The setting, the recursion guard and the batch job: nothing is started, but a service may serve."""
    assert wake(home, environ, setting) is Wake.NOT_ALLOWED
    assert not paths.lock.exists()
    beat(home, NOW_S)
    assert wake(home, environ, setting) is Wake.SERVED
    assert not paths.lock.exists()


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"JOB_ID": "1"}, "auto"),
        ({"SLURM_JOB_ID": ""}, "auto"),
        ({"SLURM_JOB_ID": "1"}, "always"),
        ({}, "auto"),
    ],
)
def test_who_may(home, paths, environ, setting):
    """Half a batch job is none, `always` overrides it, and then a service comes before the throttle."""
    started(paths, NOW_S)
    assert wake(home, environ, setting) is Wake.THROTTLED
    beat(home, NOW_S)
    assert wake(home, environ, setting) is Wake.SERVED


@pytest.mark.parametrize(
    ("before_s", "throttled"),
    [(0, True), (9, True), (11, False), (86_400, False), (-9, True), (-11, False), (-86_400, False)],
)
def test_the_throttle_and_a_clock_that_was_set(paths, before_s, throttled):
    started(paths, NOW_S - before_s)
    assert launch._claim_start(paths, 10) is (Wake.THROTTLED if throttled else Wake.STARTED)


def test_the_trace_of_a_probe_is_no_start(paths):
    started(paths, NOW_S, size=0)
    assert launch._claim_start(paths, 10) is Wake.STARTED
    os.utime(paths.lock, (NOW_S, NOW_S))
    assert launch._claim_start(paths, 10) is Wake.THROTTLED
    assert launch._claim_start(paths, 0) is Wake.STARTED


def test_the_lock_comes_before_the_throttle_under_it(paths, living):
    assert launch._claim_start(paths, 10) is Wake.ALIVE


def test_nothing_is_started_without_consent(home, paths):
    assert wake(home, may=False) is Wake.NOT_ALLOWED
    assert not paths.lock.exists()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_lock_that_is_no_file_starts_nothing(home, paths, kind):
    if kind == "link":
        paths.lock.symlink_to("elsewhere")
    else:
        os.mkfifo(paths.lock)
    with pytest.raises((OSError, TelemetryError)):
        wake(home)
    assert not (paths.root / "elsewhere").exists()
    assert not processes.sidecars(home)


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s",
    "HF_TOKEN": "s",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_TELEMETRY_PARTNER_ID": "s",
    "LD_PRELOAD": "/s.so",
    "PYTHONSTARTUP": "/s.py",
    "PYTHONINSPECT": "1",
    "NETRC": "/s",
    "path": "/s",
}
NEEDED = {
    "PATH": "/bin",
    "HOME": "/h",
    "LANG": "C",
    "https_proxy": "http://p",
    "SSL_CERT_FILE": "/c",
    "TMPDIR": "/t",
}


def test_what_a_sidecar_gets_of_our_environment():
    environ = {**SECRETS, **NEEDED, "FLWR_HOME": "/elsewhere", "PYTHONPATH": ""}
    assert launch.sidecar_environment(Home(Path("/x")), environ) == {
        **NEEDED,
        "FLWR_HOME": "/x",
        launch.GUARD: "1",
    }


def test_what_a_sidecar_gets_of_our_module_path(tmp_path, monkeypatch):
    emitter, daemon = (
        str(Path(package.__file__).parents[1]) for package in (flwr_telemetry, flwr_telemetryd)
    )
    site = str(Path(flwr_telemetry.__file__).with_name("flower") / "site")
    monkeypatch.chdir(Path(emitter).parent)
    entries = [site, "", str(tmp_path), Path(emitter).name, "/nowhere", daemon, daemon]
    passed = launch.sidecar_environment(Home(Path("/x")), {"PYTHONPATH": os.pathsep.join(entries)})
    assert passed["PYTHONPATH"].split(os.pathsep) == [emitter, daemon]
