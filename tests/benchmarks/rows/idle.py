"""What a sidecar costs that has nothing to do, beside a bare Python that sleeps, in the same minutes.

A service on a home of twenty hosts, after it has delivered what was there; a sidecar on demand in the same
position, which looks four times a second; a bare Python that wakes once in half a minute and does nothing.
Waking-ups and processor time are the system's own counts, begun when the service has come to rest; memory is
what each has to itself (USS) and what is its share (PSS).
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.benchmarks.figures import Figure, Target
from tests.support import homes, records

HOSTS = 20
COMES_TO_REST_S = 150.0  # the sleeps of a service double up to half a minute
LONG_AGO_S = 1_795_000_000
FLOOR = "a bare Python that sleeps"
PROGRAMS = {
    FLOOR: ("-c", "import time\nwhile True: time.sleep(30)"),
    "a service": ("-m", "flwr_telemetryd", "--service"),
    "a sidecar on demand": ("-m", "flwr_telemetryd"),
}
NEVER_ENDS = {"idle_exit_s": 1e6, "sent_max_days": 1e6}
MIB = 1024 * 1024
WAKE_UPS, BUSY = Target("≤ 6", "ours", at_most=6), Target("≤ 0.05 %", "ours", at_most=0.05)


def measure(bench):
    """All three in the same minutes."""
    with contextlib.ExitStack() as stack:
        running = {}
        for name, words in PROGRAMS.items():
            home = stack.enter_context(bench.place(**NEVER_ENDS))
            _fill(home / ".flwr")
            running[name] = _start(bench, home, words)
            stack.callback(running[name].kill)
        bench.advance("coming to rest", 0)
        time.sleep(COMES_TO_REST_S)
        before = {name: _counts(process) for name, process in running.items()}
        for _ in bench.turns(max(1, round(bench.minutes)), "idle minutes"):
            time.sleep(60 * bench.minutes / max(1, round(bench.minutes)))
        figures = {name: _figures(process, before[name], bench.minutes) for name, process in running.items()}
    floor = figures.pop(FLOOR)
    for name, found in figures.items():
        is_service = name == "a service"
        for (what, unit, target), mine, other in zip(
            (
                ("waking-ups a minute", "", WAKE_UPS if is_service else None),
                ("processor", "% of a core", BUSY),
                ("memory of its own (USS)", "MiB", None),
                ("memory with its share (PSS)", "MiB", None),
            ),
            found,
            floor,
            strict=True,
        ):
            note = f"{bench.minutes:g} minutes, {HOSTS} hosts"
            yield Figure("idle", f"{name}: {what}", FLOOR, unit, (mine,), (other,), target, note)


def _fill(home):
    """Twenty hosts that have been still for long."""
    for number in range(HOSTS):
        segment = homes.put(home, records.series(10, start=10 * number), host_of=f"node{number}")
        archive = segment.parents[1] / "sent" / "2026-11-22.jsonl"  # else the host would be gone soon
        archive.parent.mkdir(mode=0o700)
        archive.write_text("{}\n")
        archive.chmod(0o600)
        for path in (segment, segment.parent):
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def _start(bench, home, words):
    child = subprocess.Popen([sys.executable, *words], env=bench.environment(home), stderr=subprocess.DEVNULL)
    return psutil.Process(child.pid)


def _counts(process):
    """Voluntary waits of all threads, and seconds of processor time, to the nanosecond."""
    waits, busy_ns = 0, 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        status = (thread / "status").read_text()
        waits += int(status.split("voluntary_ctxt_switches:")[1].split()[0])
        busy_ns += int((thread / "schedstat").read_text().split()[0])
    return waits, busy_ns / 1e9


def _figures(process, before, minutes):
    waits, busy_s = (after - begin for after, begin in zip(_counts(process), before, strict=True))
    memory = process.memory_full_info()
    return waits / minutes, 100 * busy_s / (60 * minutes), memory.uss / MIB, memory.pss / MIB
