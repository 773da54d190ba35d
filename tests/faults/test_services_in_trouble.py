"""Services beside others of their kind, and in a home that is not in order."""

import errno
import itertools
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pytest

from flwr_telemetry import pending, settings
from flwr_telemetry.layout import Home
from flwr_telemetry.pending import Waiting
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from flwr_telemetryd.errors import ExitCode
from flwr_telemetryd.outbox import batch as batches_in_the_making
from flwr_telemetryd.outbox import retention
from flwr_telemetryd.runtime import Mode
from flwr_telemetryd.sidecar import housekeeping, loop
from flwr_telemetryd.sidecar.sd_notify import ServiceManager
from tests.daemon.conftest import a_runtime
from tests.faults.scene import place
from tests.faults.world import ASLEEP, World, service
from tests.support import homes, processes, records
from tests.support.faults import amid

ADOPTED = "0000000000000000001-aaaaaaaa-adopted"


def _enforce(home, barrier):
    known = settings.load(Home(home), None)
    barrier.wait()
    retention.enforce(Home(home), known.limits, time.time())


def test_two_services_that_hold_a_home_to_its_cap_count_a_drop_once(home):
    homes.configure(home, "http://127.0.0.1:9/", spool_max_mib=0.05)
    for n in range(800):
        homes.put(home, [records.sample({"n": n})], name=f"sealed-{n:019d}-0011aabb.msgpack")
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(2)
    both = [fork.Process(target=_enforce, args=(home, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    left = len(list(homes.spool(home).glob("sealed-*")))
    assert (homes.host(home) / "dropped").stat().st_size == 800 - left


def test_a_directory_that_cannot_be_read_costs_no_other_host_anything(home, monkeypatch):
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\nadopt_after_s = 0\n')
    homes.put(home, records.series(1), host_of="node1")
    for host in ("node0", homes.host_name()):
        homes.host(home, host).mkdir(mode=0o700)
    real = os.listdir

    def refused(path):
        if Path(os.fsdecode(path)).parent.name == "node0":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refused)
    world = World(home, Mode.SERVICE, monkeypatch)
    world.look_for(60, 5)
    assert world.sent
    world.sidecar._idle_wait.sleep = lambda *_chosen, **_options: None
    world.sidecar._sleep()


def test_nothing_is_written_by_the_end_of_a_service_that_slept_through_a_no(home, collector):
    """A node that shuts down a moment after `disable` elsewhere leaves not one file."""
    service = processes.start(home, ["-c", ASLEEP])
    state = homes.host(home) / "sidecar.json"
    processes.wait_until(lambda: state.exists() and state.stat().st_size)
    with homes.config_file(home).open("a") as config:
        config.write("enabled = false\n")
    state.unlink()
    service.terminate()
    assert service.wait(processes.PATIENCE_S) == 0
    assert not state.exists()


def test_what_a_third_host_takes_over_meanwhile_is_not_taken_for_delivered(home, monkeypatch):
    """A scan lists host after host; a rename from a later to an earlier host must not escape it."""
    homes.configure(home, "http://127.0.0.1:9/")
    hosts = {name: Home(home).host(name) for name in ("one", "two")}
    place(home, f"outbox/{ADOPTED}/key.json", b"{}", host_of="one")
    place(home, "outbox/key.json", b"", host_of="two").unlink()
    watched = Waiting(Home(home).host())
    order = [path.name for path in pending._others(Home(home).host())]
    first, last = hosts[order[0]], hosts[order[-1]]
    if last.name != "one":
        os.rename(hosts["one"].outbox / ADOPTED, last.outbox / ADOPTED)
    assert not watched.is_over()
    batches = pending._batches

    def taken_over(host):
        found = batches(host)
        if getattr(host, "name", "") == first.name and (last.outbox / ADOPTED).exists():
            os.rename(last.outbox / ADOPTED, first.outbox / ADOPTED)
        return found

    monkeypatch.setattr(pending, "_batches", taken_over)
    assert not watched.is_over()


def test_once_does_not_wait_for_what_a_service_elsewhere_had_adopted_before(home, collector):
    """All of this host's own is delivered: that is exit code 0."""
    homes.put(home, [], host_of="login2").unlink()
    place(home, f"outbox/{ADOPTED}/key.json", b"{}", host_of="login2")
    processes.spool_events(home, 1)
    assert processes.once(home).returncode == ExitCode.OK


def test_a_service_that_may_not_try_yet_takes_nothing_when_its_own_was_adopted(home, monkeypatch):
    """Otherwise two services would pass one batch to each other throughout an outage."""
    world = service(home, monkeypatch, 1, "adopt_after_s = 1\nbackoff_s = 3600\n")
    world.answer = Retry("no route")
    world.look_for(30, 1)
    ours = Home(home).host()
    other = Home(home).host("login2")
    other.root.mkdir(mode=0o700)
    ours.outbox.rename(other.outbox)  # login2 adopted it, and cannot deliver either
    world.look_for(60, 5)
    assert os.listdir(other.outbox)
    assert not ours.outbox.exists() or not os.listdir(ours.outbox)


def test_signs_of_life_are_given_while_a_long_batch_is_written(home, monkeypatch):
    """A body a second is a slow disk and no death; a watchdog's kill would have it begin again for ever."""
    told = []
    worlds = []

    def now():
        return worlds[0].sidecar._runtime.clock.monotonic()

    manager = ServiceManager({"WATCHDOG_USEC": "120000000"}, now)
    monkeypatch.setattr(manager, "_tell", lambda _lines: told.append(now()))
    world = service(home, monkeypatch, 300, "bursts = false\nburst_window_s = 0\n", manager=manager)
    worlds.append(world)
    put = batches_in_the_making._put

    def slow(*arguments):
        world.pass_time(1)
        return put(*arguments)

    monkeypatch.setattr(batches_in_the_making, "_put", slow)
    world.look_for(2, 1)
    told.append(now())
    assert len(world.sent) == 300
    assert max(after - before for before, after in itertools.pairwise(told)) < 120


@pytest.mark.parametrize(
    ("settings_text", "code"),
    [("enabled = false\n", ExitCode.DISABLED), ("enabled = maybe\n", ExitCode.UNUSABLE)],
)
@pytest.mark.parametrize("when", ["at the start", "later"])
def test_only_a_no_keeps_a_service_down(home, collector, settings_text, code, when):
    """Settings that cannot be understood may be half saved: its manager is to try again."""
    if when == "at the start":
        homes.write_settings(home, settings_text)
    service = processes.start(home, ["-m", "flwr_telemetryd", "--service"], stderr=subprocess.PIPE)
    if when == "later":
        processes.wait_until(Home(home).heartbeat(homes.host_name()).exists)
        with homes.config_file(home).open("a") as settings:  # in its place, so that no directory changes
            settings.write(settings_text)
    _, said = service.communicate(timeout=processes.PATIENCE_S)
    assert service.returncode == code
    assert "telemetry is off" in said
    assert not Home(home).heartbeat(homes.host_name()).exists()


def test_a_server_of_files_that_is_away_for_a_while_ends_no_service(home, monkeypatch):
    """It tries again, and delivers when the home is back."""
    world = service(home, monkeypatch)
    away = [True] * 5

    def check(_host):
        if away:
            away.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(loop, "check_root", check)

    def send(_key, _body):
        raise KeyboardInterrupt  # it lives as long as it can

    world.answer_by = send
    with pytest.raises(KeyboardInterrupt):
        world.sidecar.run()
    assert away == []


@pytest.mark.parametrize("harm", ["an unsafe directory", "no route"])
def test_a_service_that_can_deliver_nothing_lets_its_heart_stop(home, monkeypatch, harm):
    """Other hosts must start their own sidecars."""
    world = service(home, monkeypatch, 10, "bursts = false\n")
    if harm == "no route":
        world.answer = Retry(harm)
    world.look_for(10, 1)
    if harm == "an unsafe directory":
        homes.spool(home).chmod(0o770)
        world.look()
    homes.age(world.heartbeat, 3600)
    last = world.heartbeat.stat().st_mtime
    world.look_for(300, 10)
    assert world.heartbeat.stat().st_mtime == last
    homes.spool(home).chmod(0o700)
    world.answer = Delivered()
    world.look_for(2000, 10)
    assert world.heartbeat.stat().st_mtime > last


def test_a_service_that_may_not_send_yet_does_not_say_that_it_serves(home, monkeypatch):
    """A Retry-After of one day was noted by an earlier sidecar."""
    homes.write_settings(home, 'url = "http://127.0.0.1:9/"\n')
    homes.put(home, records.series(1))
    (homes.host(home) / "not-before").write_text("86400\n")
    World(home, Mode.SERVICE, monkeypatch).look_for(100, 5)
    assert not Home(home).heartbeat(homes.host_name()).exists()


def test_two_that_remove_a_host_count_its_drops_once(home, monkeypatch):
    """One of them takes the file and adds the count; the other finds the host removed."""
    node, own = Home(home).host("node"), Home(home).host()
    homes.age(place(home, "dropped", bytes(7), host_of="node"), 3600)
    own.root.mkdir(mode=0o700)
    homes.age(node.root, 3600)

    runtime = a_runtime(home)

    def other():
        assert housekeeping.prune_hosts(runtime, 600) == ["node"]

    amid(monkeypatch, other, "rename")
    assert housekeeping.prune_hosts(runtime, 600) == []
    assert own.dropped.read_bytes() == bytes(7)
