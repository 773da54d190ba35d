"""A herd of processes that start together in a fresh home."""

import contextlib
import os
import threading
import time
import uuid

import pytest

from tests.support import homes, processes, wire
from tests.support.processes import NEVER

_HERD = 200
# Other tests that run at the same time need a processor, too.
_NICE = "import os, sys\nos.nice(19)\n"
# What every Flower has loaded long before its first event: 200 processes that load it at one moment on two
# cores need more than the seconds that an event waits for what it loads.
_READY = """
import concurrent.futures, email.parser, importlib.metadata, json, platform, subprocess, tomllib, uuid
import flwr_telemetry
sys.stdin.buffer.read()
"""
_CODE = """
from flwr_telemetry import event
future = event("START_CLIENT_ENTER", {"n": int(sys.argv[1])})
os.write(1, f"{future.exception() or future.result()}\\n".encode())
"""


@contextlib.contextmanager
def _watch(home):
    """Give the set of every sidecar of a home that is seen while the block lasts."""
    seen, stop = set(), threading.Event()

    def look():
        while not stop.wait(0.05):
            seen.update(processes.sidecars(home))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@pytest.mark.heavy
@pytest.mark.long
def test_200_processes_agree_on_one_source_start_one_sidecar_and_lose_nothing(home, collector, tmp_path):
    homes.configure(home, collector.url, idle_exit_s=600, burst_window_s=1, respawn_s=600)
    gate, opener = os.pipe()
    began = time.monotonic()
    told = tmp_path / "told"
    with told.open("ab") as out, _watch(home) as seen:
        words = ["-c", _NICE + _READY + _CODE]
        herd = [processes.start(home, [*words, str(n)], stdin=gate, stdout=out) for n in range(_HERD)]
        os.close(gate)
        os.close(opener)
        assert {member.wait(4 * processes.PATIENCE_S) for member in herd} == {0}
        assert told.read_text().splitlines() == ["spooled"] * _HERD
        processes.wait_until(lambda: len(collector.events()) >= _HERD)
        pid = processes.running_sidecar(home)
    events = collector.events()
    assert wire.serials(events) == list(range(_HERD))
    assert {event["context"]["source"] for event in events} == {(home / "source").read_text().strip()}
    assert uuid.UUID(events[0]["context"]["source"]).version == 4
    assert len({event["context"]["cluster"] for event in events}) == _HERD
    assert seen == {pid}
    windows = time.monotonic() - began
    assert len(collector.requests) < max(_HERD / 10, windows)
    assert {path.name for path in home.iterdir()} == {"source", "telemetry"}


@pytest.mark.long
def test_64_plain_processes_at_once_lose_no_first_event(home, tmp_path):
    """They have loaded nothing before, so each loads the emitter, on one processor, as slowly as that is."""
    code = _NICE + "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + _CODE
    told = tmp_path / "told"
    with told.open("ab") as out:
        herd = [processes.start(home, ["-c", code, str(n)], NEVER, stdout=out) for n in range(64)]
        assert {member.wait(4 * processes.PATIENCE_S) for member in herd} == {0}
    assert told.read_text().splitlines() == ["spooled"] * 64
    assert wire.serials(homes.spooled(home)) == list(range(64))
