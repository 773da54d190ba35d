"""``event()`` while 64 processes report at the same time, by us and by the peers."""

import contextlib
import json
import subprocess

from tests.benchmarks.figures import Figure, Target, quantile

PROCESSES = 64
OURS, THEIRS = 300, 5
NAMES = {"flwr-1.41": Target("≤ 1/10", "ratio", at_most=0.1), "flwr-1.27": None}
PATIENCE_S = 300


def measure(bench):
    """The 99th percentile, and the median, of all calls of all processes."""
    ours, *others = bench.everybody()
    peers = [one for one in others if one.name in NAMES]
    times = {}
    for _ in bench.turns(bench.pick(3, 1), f"{PROCESSES} processes at once"):
        for one in (ours, *peers):
            calls = OURS if one is ours else THEIRS
            times.setdefault(one.name, []).append(_herd(bench, one, calls))
    for percent in (99, 50):
        mine = tuple(quantile(calls, percent) for calls in times[ours.name])
        what = f"event() under {PROCESSES} processes, p{percent}"
        if not peers:
            yield Figure("herd", what, "-", "µs", mine, note="without peers")
        for one in peers:
            their = tuple(quantile(calls, percent) for calls in times[one.name])
            target = NAMES[one.name] if percent == 99 else None
            beside, note = f"{one.title}: {one.call}", f"{OURS} and {THEIRS} events a process"
            yield Figure("herd", what, beside, "µs", mine, their, target, note)


def _herd(bench, one, calls):
    """Microseconds of every call but the first of each process."""
    with bench.place() as home, contextlib.ExitStack() as stack:
        members = []
        for _ in range(PROCESSES):
            member = stack.enter_context(
                subprocess.Popen(
                    bench.command(one, calls + 1, "herd"),
                    env=bench.environment(home),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
            stack.callback(member.kill)
            members.append(member)
        for member in members:
            assert member.stdout is not None
            member.stdout.readline()
        for member in members:
            assert member.stdin is not None
            member.stdin.write("\n")
            member.stdin.flush()
        return [nanoseconds / 1e3 for member in members for nanoseconds in _calls(member)]


def _calls(member):
    told, _ = member.communicate(timeout=PATIENCE_S)
    found = json.loads(told.splitlines()[-1])
    return list(found["calls_ns"])
