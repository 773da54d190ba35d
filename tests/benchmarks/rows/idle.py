"""The costs of an idle sidecar, beside a bare Python that sleeps, in the same minutes.

One is a service of a home with twenty hosts, after it has delivered all. The other is a sidecar on demand in
the same state. Waking-ups and processor time are the counts of the system; they begin when both rest.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.benchmarks.figures import Figure, Target
from tests.support import homes, records

HOSTS = 20
SETTLES_IN_S = 150.0  # after the first passes; where the kernel tells nothing, the sleeps double
LONG_AGO_S = 1_795_000_000
FLOOR = "a bare Python that sleeps"
PROGRAMS = {
    FLOOR: ("-c", "import time\nwhile True: time.sleep(30)"),
    "a service": ("-m", "flwr_telemetryd", "--service"),
    "a sidecar on demand": ("-m", "flwr_telemetryd"),
}
# A host is gone after 20 times `adopt_after_s`. By default the service would clear twenty away meanwhile.
NEVER_ENDS = {"idle_exit_s": 1e6, "sent_max_days": 1e6, "adopt_after_s": 3600}
MIB = 1024 * 1024
WAKE_UPS = {
    "a service": Target("≤ 3", "ours", at_most=3),
    "a sidecar on demand": Target("≤ 2", "ours", at_most=2),
}
BUSY, OWN = Target("≤ 0.005 %", "ours", at_most=0.005), Target("≤ 16 MiB", "ours", at_most=16)


def measure(bench):
    with contextlib.ExitStack() as stack:
        running = {}
        for name, words in PROGRAMS.items():
            home = stack.enter_context(bench.place(**NEVER_ENDS))
            _fill(home / ".flwr")
            command, environment = [sys.executable, *words], bench.environment(home)
            child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            running[name] = psutil.Process(child.pid)
            stack.callback(running[name].kill)
        bench.rest(SETTLES_IN_S)
        before = {name: _counts(process) for name, process in running.items()}
        bench.rest(60 * bench.minutes)
        figures = {name: _figures(process, before[name], bench.minutes) for name, process in running.items()}
    floor, note = figures.pop(FLOOR), f"{bench.minutes:g} minutes, {HOSTS} hosts"
    whats = (("waking-ups a minute", ""), ("processor", "% of a core"), ("memory of its own (USS)", "MiB"))
    return [
        Figure("idle", f"{name}: {what}", FLOOR, unit, (mine,), (other,), target, note)
        for name, found in figures.items()
        for (what, unit), target, mine, other in zip(
            whats, (WAKE_UPS[name], BUSY, OWN), found, floor, strict=True
        )
    ]


def _fill(home):
    """Put old segments of twenty hosts into a home."""
    for number in range(HOSTS):
        segment = homes.put(home, records.series(10, start=10 * number), host_of=f"node{number}")
        archive = segment.parents[1] / "sent" / "2026-11-22.jsonl"  # keeps the host's directory
        archive.parent.mkdir(mode=0o700)
        archive.write_text("{}\n")
        archive.chmod(0o600)
        for path in (segment, segment.parent):
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))


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
    return waits / minutes, 100 * busy_s / (60 * minutes), process.memory_full_info().uss / MIB
