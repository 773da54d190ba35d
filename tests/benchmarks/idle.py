"""What an idle service costs, beside its floors in the same minutes: ``python -m tests.benchmarks.idle 10``.

A service on a home of twenty hosts, after it has delivered what was there; a sidecar on demand in the same
position, which looks four times a second; a bare Python that wakes once in half a minute and does nothing.
Waking-ups and processor time are the system's own counts over so many minutes, begun when the service has
come to rest; memory is what each has to itself (USS) and what is its share (PSS).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from flwr_telemetryd.receiver import Receiver
from tests.support import records

HOSTS = 20
COMES_TO_REST_S = 150.0  # the sleeps of a service double up to half a minute
LONG_AGO_S = 1_795_000_000
NAPS = "import time\nwhile True: time.sleep(30)"
MIB = 1024 * 1024


def _home(where: Path, url: str) -> Path:
    home = where / ".flwr"
    for number in range(HOSTS):
        segment = home / "telemetry" / f"node{number}" / "spool" / "events.msgpack"
        archive = segment.parents[1] / "sent" / "2026-11-22.jsonl"  # else the host would be gone soon
        for path in (segment, archive):
            path.parent.mkdir(parents=True)
        archive.write_text("{}\n")
        segment.write_bytes(b"".join(map(records.encode, records.series(10, start=10 * number))))
        for path in (segment, segment.parent):
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))
        for path in (segment.parents[2], *segment.parents[2].rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
    settings = {"url": url, "idle_exit_s": 1e6, "sent_max_days": 1e6}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    (home / "telemetry" / "config.toml").write_text(text, encoding="utf-8")
    return home


def _start(home: Path, *words: str) -> psutil.Process:
    child = subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "FLWR_HOME": str(home), "HOME": str(home.parent)},
        stderr=subprocess.DEVNULL,
    )
    return psutil.Process(child.pid)


def _counts(process: psutil.Process) -> tuple[int, float]:
    """Voluntary waits of all threads, and seconds of processor time, to the nanosecond."""
    waits, busy_ns = 0, 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        status = (thread / "status").read_text()
        waits += int(status.split("voluntary_ctxt_switches:")[1].split()[0])
        busy_ns += int((thread / "schedstat").read_text().split()[0])
    return waits, busy_ns / 1e9


def main(minutes: float) -> None:
    """Measure, and print the figures."""
    with tempfile.TemporaryDirectory() as place, Receiver() as receiver:
        processes = {}
        for name, words in {
            "a bare Python": ["-c", NAPS],
            "a service": ["-m", "flwr_telemetryd", "--service"],
            "a sidecar on demand": ["-m", "flwr_telemetryd"],
        }.items():
            where = Path(place) / name.replace(" ", "-")
            where.mkdir()
            processes[name] = _start(_home(where, receiver.url), *words)
        time.sleep(COMES_TO_REST_S)
        before = {name: _counts(process) for name, process in processes.items()}
        time.sleep(60 * minutes)
        figures = {}
        for name, process in processes.items():
            waits, busy_s = (
                after - begin for after, begin in zip(_counts(process), before[name], strict=True)
            )
            memory = process.memory_full_info()
            figures[name] = (waits / minutes, busy_s / (60 * minutes), memory.uss / MIB, memory.pss / MIB)
            process.kill()
            process.wait()
    floor = figures["a bare Python"]
    print(f"{minutes:g} idle minutes, a home of {HOSTS} hosts; in brackets, times a bare Python")
    for name, (waits, busy, uss, pss) in figures.items():
        print(
            f"{name}: {waits:.1f} waking-ups a minute ({waits / floor[0]:.1f}), "
            f"{busy * 1e6:.1f} millionths of a core ({busy / floor[1]:.1f}), "
            f"{uss:.1f} MiB of its own ({uss / floor[2]:.1f}), {pss:.1f} MiB share ({pss / floor[3]:.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
