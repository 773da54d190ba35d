"""The start of a sidecar: its guards one by one, in their order, and the time between two starts."""

import fcntl
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flwr_telemetry import files, launch, presence, settings, start_errors
from flwr_telemetry.errors import StartError
from flwr_telemetry.launch import Wake
from flwr_telemetry.layout import Home
from flwr_telemetry.settings_file import Limits
from tests.emitter.conftest import NOW_S, beat
from tests.support import faults, homes, hosts, processes


def started(paths, at_s, *, size=8):
    """Leave the trace of a start at that time of the file system; of size 0, that of a mere probe."""
    files.append_bytes(paths.lock, b"started\n"[:size])
    os.utime(paths.lock, (at_s, at_s))


def wake(home, environ=None, setting="auto", *, respawn_s=10, may=True):
    consent = settings.Consent(enabled=may, decided_by="default", reason="")
    chosen = settings.Settings(consent, sidecar=setting, limits=Limits(respawn_s=respawn_s))
    return launch.wake(Home(home), Home(home).host(), chosen, environ or {}, lambda: may)


def test_a_living_sidecar_comes_before_everything(home, paths):
    beat(home, NOW_S)
    with paths.lock.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert wake(home, {presence.GUARD: "1"}, "never") is Wake.ALIVE
        assert launch._claim_start(paths, 10) is Wake.ALIVE


FORBIDDEN = {
    "no_consent": ({}, "auto"),
    "never": ({}, "never"),
    "guard": ({presence.GUARD: "1"}, "always"),
    "guard_of_any_value": ({presence.GUARD: ""}, "always"),
    "sge": ({"JOB_ID": "1", "SGE_ROOT": "/sge"}, "auto"),
    **{name: ({name: "1"}, "auto") for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")},
}


@pytest.mark.parametrize(("environ", "setting"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_who_may_not_start_one(home, paths, environ, setting):
    """By consent, setting, recursion guard or batch job. A service may serve all the same."""
    assert wake(home, environ, setting, may=(environ, setting) != FORBIDDEN["no_consent"]) is Wake.NOT_ALLOWED
    beat(home, NOW_S)
    assert wake(home, environ, setting) is Wake.SERVED
    assert not paths.lock.exists()


ALLOWED = [({"JOB_ID": "1"}, "auto"), ({"SLURM_JOB_ID": ""}, "auto"), ({"SLURM_JOB_ID": "1"}, "always")]


@pytest.mark.parametrize(("environ", "setting"), ALLOWED)
def test_who_may(home, paths, environ, setting):
    """Half a batch job is none, `always` overrides it, and then a service comes before the throttle."""
    started(paths, NOW_S)
    assert wake(home, environ, setting) is Wake.THROTTLED
    beat(home, NOW_S)
    assert wake(home, environ, setting) is Wake.SERVED


@pytest.mark.parametrize("before_s", [0, 9, 11, 86_400, -9, -11, -86_400])
def test_the_throttle_and_a_clock_that_was_set(paths, before_s):
    started(paths, NOW_S - before_s)
    assert launch._claim_start(paths, 10) is (Wake.THROTTLED if abs(before_s) < 10 else Wake.STARTED)


def test_a_start_in_an_earlier_container_does_not_count(home, paths):
    """Else a fleet of short containers might start a sidecar only at their ends."""
    started(paths, NOW_S - 5)
    code = f"""
from flwr_telemetry import launch
from flwr_telemetry.layout import Home, home_directory
for _ in range(2):
    print(launch._claim_start(Home(home_directory(os.environ)).host(), 10).name)
    os.utime({str(paths.lock)!r}, ({NOW_S}, {NOW_S}))
"""
    words = [sys.executable, "-c", processes.PRELUDE + code]
    done = processes.program(home, hosts.container(words))
    assert (done.stdout.split(), done.stderr) == (["STARTED", "THROTTLED"], "")
    os.utime(paths.lock, (NOW_S - 5, NOW_S - 5))
    assert launch._claim_start(paths, 10) is Wake.THROTTLED


def test_the_trace_of_a_probe_is_no_start(paths):
    started(paths, NOW_S, size=0)
    assert launch._claim_start(paths, 10) is Wake.STARTED
    os.utime(paths.lock, (NOW_S, NOW_S))
    assert launch._claim_start(paths, 10) is Wake.THROTTLED
    assert launch._claim_start(paths, 0) is Wake.STARTED


def test_without_locks_one_of_many_starts(paths, monkeypatch):
    """One at a time; then the throttle tells the others. One that died amid a start is not waited for."""
    faults.no_locks(monkeypatch)
    paths.starting.touch()
    assert launch._claim_start(paths, 0) is Wake.THROTTLED
    homes.age(paths.starting, files.CLAIM_S)
    assert [launch._claim_start(paths, 0) for _ in range(2)] == [Wake.THROTTLED, Wake.STARTED]
    os.utime(paths.lock, (NOW_S, NOW_S))
    assert launch._claim_start(paths, 10) is Wake.THROTTLED
    assert not paths.starting.exists()


def test_without_locks_one_of_all_who_come_at_once_starts(paths, monkeypatch):
    """Also if each has looked at the last start before any other starts one."""
    faults.no_locks(monkeypatch)
    monkeypatch.setattr(presence, "last_touched", lambda _host: time.time())
    real = launch._started_lately
    monkeypatch.setattr(launch, "_started_lately", lambda *asked: (real(*asked), time.sleep(0.005))[0])
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: launch._claim_start(paths, 10), range(64)))
    assert (told.count(Wake.STARTED), told.count(Wake.THROTTLED)) == (1, 63)


def in_vain(paths, starts, *, said="Traceback\nModuleNotFoundError: No module named 'requests'\n"):
    """Leave the traces of so many starts without a life, the last one at NOW_S."""
    for _ in range(starts):
        descriptor = start_errors.begin(paths)
        files.write_all(descriptor, said.encode())
        os.close(descriptor)
    started(paths, NOW_S)


@pytest.mark.parametrize(("starts", "pause_s"), [(2, 10), (3, 60), (4, 600), (5, 3600), (99, 3600)])
def test_starts_in_vain_become_rare(home, paths, monkeypatch, starts, pause_s):
    """From the third one on the time between two grows to an hour, and the error tells the last words."""
    monkeypatch.setattr(presence, "is_from_before", lambda _age_s: False)  # this machine may be younger
    in_vain(paths, starts)
    os.utime(paths.events, (NOW_S + pause_s - 1, NOW_S + pause_s - 1))
    if starts < 3:
        assert wake(home) is Wake.THROTTLED
    else:
        with pytest.raises(StartError, match=rf"{starts} times since .*No module named 'requests'; .*doctor"):
            wake(home)
    os.utime(paths.events, (NOW_S + pause_s + 1, NOW_S + pause_s + 1))
    assert launch._claim_start(paths, 10) is Wake.STARTED


def test_a_long_respawn_time_stays_long(home, paths):
    in_vain(paths, 3)
    os.utime(paths.events, (NOW_S + 100, NOW_S + 100))
    assert wake(home, respawn_s=7200) is Wake.THROTTLED
