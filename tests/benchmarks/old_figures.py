"""The figures of the main job, each beside its floor in the same run: ``python -m tests.benchmarks.figures``.

Nothing is asserted here: a timing is a figure, not a test. Everything happens in a temporary home against
a receiver on loopback; medians are of runs taken in turn.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flwr_telemetry import event
from flwr_telemetry.layout import Home
from flwr_telemetryd.receiver import Receiver
from tests.support import records

DETAILS = {"backend": "ray", "num-supernodes": 10}
ROUNDS = 20_000
RUNS = 15
HERD = 200
HELD_UP = 40
EQUAL, DISTINCT = 1_000_000, 20_000

_FIRST = """
import json, os, sys, time
{loaded}
begin = time.perf_counter_ns()
import flwr_telemetry
imported = time.perf_counter_ns()
from flwr_telemetry import event
named = time.perf_counter_ns()
event("PING", {{"n": 1}})
done = time.perf_counter_ns()
print(json.dumps([imported - begin, named - begin, done - named]))
"""
_FLOWER = "import flwr.supercore.telemetry, flwr.simulation"
_PEAK = "import re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
_FLOOR = f"import filelock, msgpack, psutil, requests; {_PEAK}"
_ONCE = f"from flwr_telemetryd.__main__ import main; code = main(['--once']); {_PEAK}; raise SystemExit(code)"
_HOLDER = """
import fcntl, os, signal, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print(flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def _configure(home: Path, url: str, **settings: object) -> None:
    telemetry = home / "telemetry"
    telemetry.mkdir(parents=True, exist_ok=True)
    telemetry.chmod(0o700)
    lines = {"url": url, **settings}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    (telemetry / "config.toml").write_text(text, encoding="utf-8")


def _run(code: str, home: Path, **environ: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FLWR_HOME": str(home), "HOME": str(home.parent), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def steady(home: Path) -> None:
    """A steady event against a bare append of the same bytes, in turn."""
    os.environ.update(FLWR_HOME=str(home), FLWR_TELEMETRY_SIDECAR="never")
    segment = Home(home).host().events
    event("PING", DETAILS)
    record = segment.read_bytes()
    descriptor = os.open(home / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    times: dict[str, list[int]] = {"event": [], "write": []}
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        event("PING", DETAILS)
        between = time.perf_counter_ns()
        os.write(descriptor, record)
        times["event"].append(between - begin)
        times["write"].append(time.perf_counter_ns() - between)
    os.close(descriptor)
    for quantile, index in (("p50", 50), ("p99", 99)):
        ours, bare = (statistics.quantiles(times[name], n=100)[index - 1] for name in ("event", "write"))
        print(f"event(), {quantile}: {ours / 1e3:.1f} µs, {ours / bare:.1f} times a bare write of the same")


def held_up(home: Path) -> None:
    """An event while a stopped process holds the lock of the segment, against one while none does."""
    os.environ.update(FLWR_HOME=str(home), FLWR_TELEMETRY_SIDECAR="never")
    event("PING", DETAILS)
    segment = str(Home(home).host().events)
    command = [sys.executable, "-c", _HOLDER, segment]
    free = [_timed_event() for _ in range(HELD_UP)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.waitpid(holder.pid, os.WUNTRACED)
        held = [_timed_event() for _ in range(HELD_UP)]
        holder.kill()
    print(
        f"event() while a stopped process holds the lock: median {statistics.median(held):.2f} ms, most "
        f"{max(held):.2f} ms; else median {statistics.median(free):.2f} ms, most {max(free):.2f} ms"
    )


def _timed_event() -> float:
    begin = time.perf_counter_ns()
    event("PING", DETAILS)
    return (time.perf_counter_ns() - begin) / 1e6


def spools(root: Path, receiver: Receiver) -> None:
    """Peak memory and time of a sidecar that works off a large spool, beside the floor of its imports."""
    floor_kib = int(_output(_FLOOR, root))
    one = records.encode(records.sample(DETAILS))
    kinds = {
        "one event": [one],
        f"{EQUAL:,} equal events": itertools.repeat(one, EQUAL),
        f"{DISTINCT:,} events that share no body": (
            records.encode(records.sample({f"name-{number}": number})) for number in range(DISTINCT)
        ),
    }
    for name, frames in kinds.items():
        home = root / str(len(name)) / ".flwr"
        _configure(home, receiver.url, spool_max_mib=2000)
        segment = Home(home).host().events
        segment.parent.mkdir(parents=True, mode=0o700)
        segment.parent.parent.chmod(0o700)
        with segment.open("wb") as file:
            file.writelines(frames)
        segment.chmod(0o600)
        before, begin = receiver.requests, time.perf_counter()
        peak_kib = int(_output(_ONCE, home))
        print(
            f"{name}: {receiver.requests - before:,} requests in {time.perf_counter() - begin:.1f} s, peak "
            f"{peak_kib / 1024:.1f} MiB, {peak_kib / floor_kib:.2f} times the imports alone"
        )


def _output(code: str, home: Path) -> str:
    environ = {**os.environ, "FLWR_HOME": str(home)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return done.stdout.decode()


def first(root: Path, url: str) -> None:
    """Import and first event of a process, with and without a start of the sidecar."""
    for name, loaded in (("a bare process", ""), ("a process that has loaded flwr", _FLOWER)):
        rows: dict[str, list[list[float]]] = {"always": [], "never": []}
        for number in range(RUNS):
            for setting, kept in rows.items():
                home = root / f"{name[:4]}{len(loaded)}{setting}{number}" / ".flwr"
                _configure(home, url, idle_exit_s=0, burst_window_s=0)
                kept.append(_run(_FIRST.format(loaded=loaded), home, FLWR_TELEMETRY_SIDECAR=setting))
        for setting, kept in rows.items():
            package, names, done = (statistics.median(column) / 1e6 for column in zip(*kept, strict=True))
            print(
                f"{name}, sidecar {setting}: import {package:.1f} ms, with names {names:.1f} ms, "
                f"first event {done:.1f} ms"
            )


def herd(root: Path, receiver: Receiver) -> None:
    """Requests and bytes of 200 processes, and the sidecar's memory beside the floor of its imports."""
    home = root / "herd" / ".flwr"
    _configure(home, receiver.url, idle_exit_s=30, burst_window_s=5)
    code = (
        f"from flwr_telemetry import event; import sys; event('PING', {{'n': int(sys.argv[1]), **{DETAILS}}})"
    )
    environ = {**os.environ, "FLWR_HOME": str(home), "FLWR_TELEMETRY_SIDECAR": "always"}
    members = [subprocess.Popen([sys.executable, "-c", code, str(n)], env=environ) for n in range(HERD)]
    for member in members:
        member.wait()
    state = Home(home).host().state
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _delivered(state) < HERD:
        time.sleep(0.1)
    pid = json.loads(state.read_text())["pid"]
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line)
    peak_kib, floor_kib = int(peak.split()[1]), int(_output(_FLOOR, home))
    print(
        f"{HERD} processes: {receiver.requests} requests, {receiver.request_bytes} bytes of bodies; "
        f"sidecar's peak {peak_kib / 1024:.1f} MiB, {peak_kib / floor_kib:.2f} times its imports alone"
    )
    os.kill(pid, 15)


def _delivered(state: Path) -> int:
    try:
        return int(json.loads(state.read_text())["delivered_events"])
    except (OSError, ValueError):
        return 0


def main() -> None:
    """Print all figures."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with Receiver() as receiver:
            first(root, receiver.url)
        with Receiver() as receiver:
            herd(root, receiver)
            _configure(root / "steady" / ".flwr", receiver.url)
        steady(root / "steady" / ".flwr")
        held_up(root / "steady" / ".flwr")
        with Receiver() as receiver:
            spools(root, receiver)


if __name__ == "__main__":
    main()
