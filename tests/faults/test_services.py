"""Services on the hosts of one home: how they share it, and obey signals, settings and commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from flwr_telemetry import mounts, settings
from flwr_telemetry.layout import Home
from flwr_telemetryd.delivery.outcome import Delivered, Retry
from flwr_telemetryd.errors import ExitCode
from tests.faults.world import ASLEEP, service
from tests.support import homes, hosts, processes, records, wire

SERVICE = [sys.executable, "-m", "flwr_telemetryd", "--service"]
WRITER = """
import time
for n in range(int(sys.argv[1]), int(sys.argv[2])):
    assert outcome(event("PING", {"n": n})) == "spooled"
    time.sleep(0.01)
"""
NODES, EVENTS = 6, 20
HOUR_S = 3600.0


def serve(home, host, **options):
    """Start a service on a host; when this returns its heart has beaten."""
    environ = processes.environment(home)
    service = subprocess.Popen(hosts.on(host, SERVICE), env=environ, text=True, **options)
    processes.wait_until(Home(home).heartbeat(host).exists)
    return service


def end(service):
    service.terminate()
    return service.wait(processes.PATIENCE_S)


@pytest.mark.long
def test_two_services_share_the_work_of_a_home(home, collector):
    """Nodes write, start nothing, and everything arrives once; nothing is sent under one key twice."""
    homes.configure(home, collector.url, adopt_after_s=0.5)
    services = [serve(home, host) for host in ("login1", "login2")]
    code = processes.PRELUDE + WRITER
    writers = [
        subprocess.Popen(
            hosts.on(f"node{n}", [sys.executable, "-c", code, str(n * EVENTS), str((n + 1) * EVENTS)]),
            env=processes.environment(home),
        )
        for n in range(NODES)
    ]
    assert [writer.wait(processes.PATIENCE_S) for writer in writers] == [0] * NODES
    processes.wait_until(lambda: not homes.unsent_files(home))
    assert wire.serials(collector.events()) == list(range(NODES * EVENTS))
    keys = [request.key for request in collector.requests]
    assert len(keys) == len(set(keys))
    # Nobody started one: no node has a sidecar's lock; and in the end no node has anything.
    assert homes.find(homes.telemetry(home), "node*/sidecar.*") == []
    processes.wait_until(lambda: not homes.find(homes.telemetry(home), "node*"))
    assert [end(service) for service in services] == [0, 0]
    assert homes.find(homes.telemetry(home), "service-*.json") == []


def test_a_hangup_has_a_service_read_its_settings_and_deliver(home, collector):
    """It waits neither for the burst window nor for a backoff."""
    homes.configure(home, "http://127.0.0.1:9/", burst_window_s=3600, backoff_s=3600, backoff_max_s=3600)
    service = processes.start(home, SERVICE[1:], stderr=subprocess.PIPE)
    processes.wait_until(Home(home).heartbeat(homes.host_name()).exists)
    processes.spool_events(home, 2)
    service.send_signal(signal.SIGHUP)
    state = homes.host(home) / "sidecar.json"
    processes.wait_until(lambda: json.loads(state.read_text())["retried"] == 1)
    homes.configure(home, collector.url, burst_window_s=3600, backoff_s=3600, backoff_max_s=3600)
    service.send_signal(signal.SIGHUP)
    processes.wait_until(lambda: homes.sent(home))
    processes.spool_events(home, 2, start_at=2)
    service.send_signal(signal.SIGHUP)
    processes.wait_until(lambda: len(collector.events()) == 4)
    service.terminate()
    _, said = service.communicate(timeout=processes.PATIENCE_S)
    assert "settings read again" in said
    assert service.returncode == ExitCode.OK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_delivers_what_is_there_before_it_ends(home, collector, number):
    """It waits neither for the burst window, nor for other hosts to become quiet, nor for a backoff."""
    homes.configure(home, collector.url, burst_window_s=3600, adopt_after_s=3600)
    service = processes.start(home, SERVICE[1:])
    processes.wait_until(Home(home).heartbeat(homes.host_name()).exists)
    now_us = time.time_ns() // 1000
    homes.put(home, records.series(1, date_us=now_us))
    homes.put(home, records.series(1, start=1, date_us=now_us), host_of="workload")
    service.send_signal(number)
    assert service.wait(processes.PATIENCE_S) == ExitCode.OK
    assert wire.serials(collector.events()) == [0, 1]
    assert homes.unsent_files(home) == []
    assert "terminated" in json.loads((homes.host(home) / "sidecar.json").read_text())["ended"]


@pytest.mark.parametrize("is_local", [True, False])
def test_a_last_adoption_needs_a_disk_of_this_machine(home, request, monkeypatch, is_local):
    """On a shared home no lock holds off a writer, so an adoption beside one may cost an event."""
    homes.put(home, records.series(1, start=10), host_of="workload")
    monkeypatch.setattr(mounts, "is_shared", lambda _path: not is_local)
    world = request.getfixturevalue("world")
    world.sidecar.drain()
    assert (10 in world.arrived) is is_local


def test_a_service_that_is_ended_amid_a_request_sends_it_again(home, collector):
    """On a fresh connection and under its key, because the answer to the first may still come."""
    homes.configure(home, collector.url, request_deadline_s=600)
    collector.answer_with("hang")
    processes.spool_events(home, 2)
    service = processes.start(home, SERVICE[1:])
    processes.wait_until(lambda: collector.requests)
    assert end(service) == ExitCode.OK
    first, second = collector.requests
    assert (first.key, first.body) == (second.key, second.body)
    assert homes.unsent_files(home) == []


@pytest.mark.parametrize(("drain_s", "requests", "signals"), [("0", 1, 1), ("0.2", 2, 1), ("3600", 2, 2)])
def test_a_collector_that_hangs_does_not_keep_a_service(home, collector, drain_s, requests, signals):
    """It ends when the time is over, or at a second signal, and loses nothing."""
    homes.configure(home, collector.url, request_deadline_s=600)
    collector.answer_by(lambda _request: "hang")
    processes.spool_events(home, 2)
    service = processes.start(home, [*SERVICE[1:], "--drain-s", drain_s])
    for number in range(signals):
        processes.wait_until(lambda number=number: len(collector.requests) > number)
        service.terminate()
    assert service.wait(processes.PATIENCE_S) == ExitCode.OK
    assert len(collector.requests) == requests
    assert "terminated" in json.loads((homes.host(home) / "sidecar.json").read_text())["ended"]
    assert not Home(home).heartbeat(homes.host_name()).exists()
    collector.answer_by(lambda _request: 200)
    processes.deliver(home)
    assert wire.serials(collector.events()) == [0, 1]


def test_a_sidecar_on_demand_ends_at_once(home, collector):
    """A service may wait for its lock, and the kernel may kill it soon."""
    homes.configure(home, collector.url, burst_window_s=3600)
    homes.put(home, records.series(1, date_us=time.time_ns() // 1000))
    sidecar = processes.start(home, ["-m", "flwr_telemetryd"])
    assert processes.running_sidecar(home) == sidecar.pid
    assert end(sidecar) == ExitCode.OK
    assert collector.requests == []


@pytest.mark.parametrize(
    "arguments", ["1", "1 --once", *(f"{n} --service" for n in ("-1", "nan", "inf", "x"))]
)
def test_how_long_a_service_delivers_is_a_number_of_seconds(home, arguments):
    done = processes.run(home, ["-m", "flwr_telemetryd", "--drain-s", *arguments.split()])
    assert done.returncode == ExitCode.USAGE


def test_what_a_service_tells_its_manager(home, collector, tmp_path):
    """Every message from the start to the end; the watchdog knows how long a request may take."""
    homes.configure(home, collector.url, request_deadline_s=100)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(processes.PATIENCE_S)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "120000000"}
        service = processes.start(home, SERVICE[1:], env)
        told = [manager.recv(1024).decode() for _ in range(4)]
        assert told == [
            "WATCHDOG_USEC=200000000",
            "WATCHDOG=1",
            "STATUS=events delivered: 0, requests: 0",
            "READY=1",
        ]
        service.send_signal(signal.SIGHUP)
        assert manager.recv(1024).decode().startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(1024).decode() == "READY=1"
        assert end(service) == ExitCode.OK
        assert manager.recv(1024).decode() == "STOPPING=1"


@pytest.fixture
def world(home, monkeypatch):
    return service(home, monkeypatch, 10, "bursts = false\n")


def test_the_heart_beats_while_a_long_backlog_is_delivered(home, world):
    """Ten slow requests take five minutes in one look; the home is never without a fresh heartbeat."""
    world.look()
    heartbeat = world.heartbeat
    stopped = []

    def slow(_key, _body):
        stopped.append(heartbeat.stat().st_mtime < HOUR_S)  # nobody renewed it since the last request
        os.utime(heartbeat, (1, 1))
        world.pass_time(31)
        return Delivered()

    world.answer_by = slow
    world.pass_time(10)
    world.look()
    assert stopped == [False] * 10


def test_a_hangup_has_files_read_that_do_not_look_changed(home, world, monkeypatch):
    """A network file system may show old times of a file that was changed."""
    asked = []
    world.sidecar._reload_asked = lambda: bool(asked and asked.pop())
    monkeypatch.setattr(settings, "signature", lambda *_: ())
    world.sidecar.run_pass()
    homes.write_settings(home, homes.config_file(home).read_text().replace(":9/", ":8/"))
    world.sidecar.run_pass()
    assert ":9/" in world.sidecar._checkpoint.settings.url
    asked.append(True)
    world.sidecar.run_pass()
    assert ":8/" in world.sidecar._checkpoint.settings.url


def test_a_service_that_never_could_deliver_does_not_say_that_it_serves(home, world):
    """With something to try it with, it is tried first; each start would silence the home for a while."""
    world.answer_by = lambda _key, _body: Retry("no route")
    world.sidecar._deliver_now()
    world.look()
    assert world.sent
    assert not world.heartbeat.exists()
    world.answer_by = lambda _key, _body: Delivered()
    world.look_for(100, 10)
    assert Home(home).heartbeat(homes.host_name()).exists()


@pytest.mark.parametrize("what", ["flush", "disable"])
def test_a_command_wakes_a_service_that_sleeps(home, what):
    homes.write_settings(home, f'url = "file://{home.parent}/out.jsonl"\n')
    service = processes.start(home, ["-c", ASLEEP])
    processes.wait_until(Home(home).heartbeat(homes.host_name()).exists)
    processes.spool_events(home, 2)
    done = processes.command(home, what)
    assert done.returncode == ExitCode.OK, done.stderr
    if what == "flush":
        assert (home.parent / "out.jsonl").read_text().count("\n") == 1
        service.terminate()
    assert service.wait(processes.PATIENCE_S) == (ExitCode.OK if what == "flush" else ExitCode.DISABLED)


def test_a_node_asks_a_service_elsewhere_for_delivery(home, collector):
    """Its call is heard although its spool has just grown, and it is told when all is delivered."""
    homes.configure(home, collector.url, adopt_after_s=7)
    service = serve(home, "login1")
    code = (
        processes.PRELUDE + 'assert outcome(event("PING", {"n": 0})) == "spooled"; print(flush(timeout=60))'
    )
    node = processes.program(home, hosts.on("node1", [sys.executable, "-c", code]))
    assert (node.stdout, node.stderr) == ("True\n", "")
    assert wire.serials(collector.events()) == [0]
    assert not (homes.host(home, "node1") / "sidecar.lock").exists()
    assert end(service) == 0
