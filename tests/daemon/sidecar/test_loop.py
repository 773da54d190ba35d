"""The loop as a process: passes, waits, and reasons to end."""

import errno
import os
import subprocess
import time

import pytest

from flwr_telemetry import presence
from flwr_telemetry.layout import Home, whole_name
from flwr_telemetryd.clock import Clock
from flwr_telemetryd.delivery import open_sink
from flwr_telemetryd.delivery.backoff import RetryPolicy
from flwr_telemetryd.errors import ExitCode
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar.loop import Sidecar
from flwr_telemetryd.sidecar.schedule import ExitReason
from flwr_telemetryd.spool.locks import held
from flwr_telemetryd.state import State
from tests.support import faults, homes, processes, records, wire


def test_a_retry_after_of_an_earlier_run_ends_a_sidecar_like_an_outage(home, collector):
    homes.configure(home, collector.url, offline_exit_s=0.5)
    homes.put(home, records.series(2))
    (homes.host(home) / "not-before").write_text("3600\n")
    assert processes.run(home, ["-m", "flwr_telemetryd"]).returncode == ExitCode.UNDELIVERED
    assert collector.requests == []
    assert len(homes.unsent_files(home)) == 1


WAITS = {"backoff_s": 1, "backoff_max_s": 900, "burst_window_s": 0, "idle_exit_s": 1}


class Run:
    """A sidecar on demand with a clock that runs only in sleep; chance is always the same."""

    def __init__(self, home, *, random=0.5, lock=None):
        self.now_s = 0.0
        self.happens = {}
        began_ns = time.time_ns()
        clock = Clock(
            monotonic=lambda: self.now_s,
            time_ns=lambda: began_ns + int(1e9 * self.now_s),
            sleep=self._sleep,
            random=lambda: random,
        )
        site_file = home.parent / "none.toml"
        self.sidecar = Sidecar(
            Home(home), Mode.ON_DEMAND, open_sink, lock=lock, clock=clock, site_file=site_file
        )

    def _sleep(self, seconds):
        assert 0 < seconds <= 0.25
        self.now_s += seconds
        for at_s in [at_s for at_s in self.happens if at_s <= self.now_s]:
            self.happens.pop(at_s)()


@pytest.mark.parametrize("kind", ["open", "whole"])
def test_on_demand_it_makes_few_passes_and_ends_in_time(home, tmp_path, monkeypatch, kind):
    out = tmp_path / "out.jsonl"
    homes.configure(home, out.as_uri(), burst_window_s=5, idle_exit_s=60)
    now_us = time.time_ns() // 1000
    name = "events.msgpack" if kind == "open" else whole_name(time.time_ns())
    homes.put(home, [records.sample({"n": number}, date_us=now_us) for number in range(3)], name=name)
    run, passes = Run(home), []
    run_pass = Sidecar.run_pass
    monkeypatch.setattr(Sidecar, "run_pass", lambda self: passes.append(1) or run_pass(self))
    assert run.sidecar.run() is ExitReason.IDLE
    assert 65 <= run.now_s <= 66  # the burst window, and `idle_exit_s`
    assert len(passes) <= 20
    assert wire.serials(wire.expand_all(out.read_bytes().splitlines())) == [0, 1, 2]


def test_a_disk_that_fails_for_a_while_ends_no_run(home, tmp_path, monkeypatch):
    out = tmp_path / "out.jsonl"
    homes.configure(home, out.as_uri(), **WAITS)
    homes.put(home, records.series(3))
    run, listdir, failed = Run(home), os.listdir, []

    def fails_for_a_while(path):
        if run.now_s < 2:
            failed.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", fails_for_a_while)
    assert run.sidecar.run() is ExitReason.IDLE
    assert failed
    assert wire.serials(wire.expand_all(out.read_bytes().splitlines())) == [0, 1, 2]


def _outage(home, collector, run, until_s):
    """Let three bodies meet a collector that is away until a time; the times of the requests."""
    came = []

    def answer(_request):
        came.append(run.now_s)
        return 503 if run.now_s < until_s else 200

    collector.answer_by(answer)
    homes.put(home, records.series(3))
    return came


@pytest.mark.parametrize("asked_at_s", [None, 301.0, 600.0])
def test_after_an_outage_one_body_goes_before_the_others(home, collector, asked_at_s):
    """A fleet must not send everything at once after an outage; a request for delivery ends the wait."""
    homes.configure(home, collector.url, **WAITS, bursts=False, offline_exit_s=1e6)
    run = Run(home)
    came = _outage(home, collector, run, 300.0)
    if asked_at_s is not None:
        run.happens[asked_at_s] = (homes.spool(home) / "flush").touch
    assert run.sidecar.run() is ExitReason.IDLE
    first, second, third = (at_s for at_s in came if at_s >= 300)
    assert third - second <= 0.5
    rest_s = 0.5 * (first - came[0])
    if asked_at_s is None:
        assert rest_s <= second - first <= rest_s + 0.5
    else:
        assert asked_at_s <= second <= asked_at_s + 0.5 < first + rest_s
    assert wire.serials(collector.events()) == [0, 1, 2]


def test_a_retry_after_of_an_earlier_run_gets_jitter(home, collector, monkeypatch):
    """The collector may have named one moment to a whole fleet."""
    homes.configure(home, collector.url, **WAITS, offline_exit_s=1e6)
    run = Run(home)
    came = _outage(home, collector, run, 0.0)
    homes.host(home).joinpath("not-before").write_text("100\n")
    homes.host(home).joinpath("not-before").chmod(0o600)
    began_s = (homes.host(home) / "not-before").stat().st_mtime
    monkeypatch.setattr(RetryPolicy, "_file_system_now", lambda _self: began_s + run.now_s)
    assert run.sidecar.run() is ExitReason.IDLE
    assert 145 <= came[0] <= 155


@pytest.mark.parametrize("back_at_s", [90.0, 200.0])
def test_it_tries_once_more_before_an_offline_exit(home, collector, back_at_s):
    homes.configure(home, collector.url, **WAITS, offline_exit_s=100)
    run = Run(home, random=1.0)
    came = _outage(home, collector, run, back_at_s)
    assert run.sidecar.run() is (ExitReason.IDLE if back_at_s < 100 else ExitReason.OFFLINE)
    assert 100 <= came[-1] <= 101
    assert came[-2] < 64
    assert len(homes.waiting(home)) == (0 if back_at_s < 100 else 1)


TEMPORARY = [".sidecar.json.123.part", "rejected/.k.reason.txt.7.part"]
STRAY = ["kept.txt", "work/.DS_Store", "work/b.x/stray", "outbox/stray", "spool/stray", "sent/x"]


@pytest.mark.parametrize("names", [TEMPORARY, *([name] for name in STRAY)], ids=lambda names: names[0])
def test_a_stray_file_stops_nothing_and_temporary_files_of_a_killed_sidecar_are_deleted(
    home, collector, names
):
    homes.configure(home, collector.url)
    homes.put(home, records.series(2))
    paths = [homes.host(home) / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("junk")
    for directory in homes.host(home).glob("**/"):
        directory.chmod(0o700)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]
    assert names != TEMPORARY or not any(path.exists() for path in paths)
    assert names != ["kept.txt"] or paths[0].exists()


@pytest.mark.parametrize("at_s", [0.1, 0.6], ids=["at the start", "later"])
def test_where_nothing_is_locked_a_host_belongs_to_the_last_claim(home, collector, monkeypatch, at_s):
    """The sidecar whose claim was replaced ends, and leaves the other one's state alone."""
    homes.configure(home, collector.url, **WAITS)
    homes.put(home, records.series(1))
    faults.no_locks(monkeypatch)
    host = Home(home).host()
    with (
        processes.start(home, ["-c", "input()"], stdin=subprocess.PIPE) as other,
        held(host, 0, create=True) as lock,
    ):
        claim = State(pid=other.pid, born=presence.birth(other.pid), mode="on demand")
        run = Run(home, lock=lock)
        run.happens[at_s] = lambda: claim.save(host)
        run.happens[at_s + 0.2] = lambda: homes.put(home, records.series(1, start=1))
        assert run.sidecar.run() is ExitReason.LOST
        assert presence.sidecar_state(host).pid == other.pid
        other.communicate("\n")
    assert wire.serials(collector.events()) == ([] if at_s == 0.1 else [0, 1])
    processes.deliver(home)
    assert wire.serials(collector.events()) == ([0] if at_s == 0.1 else [0, 1])
