"""The time of ``event()``: steady, from 64 processes at once, and while a stopped process holds the lock."""

import contextlib
import json
import statistics
import subprocess
from functools import partial

from tests.benchmarks.bench import tell
from tests.benchmarks.figures import Figure, Target, number, quantile
from tests.benchmarks.peers import OURS

CALLS, ROUNDS = 2000, 5  # all rounds together stay far below the 64 MiB at which a spool is full
# The calls of the others are fast.
PEERS_CALLS = dict.fromkeys(("flwr-1.42", "flwr-1.41", "flwr-1.27"), 50) | {"iterative-telemetry": 20}
FAST_CALLS = 1000
PROCESSES, OUR_CALLS, THEIR_CALLS = 64, 300, 5
HERD_TARGETS = {"flwr-1.41": Target("≤ 1/10", "ratio", at_most=0.1)}
TIMEOUT_S = 300


def steady(bench):
    """Beside a bare append of the same bytes, the six system calls of an append, and each peer."""
    found = []
    for _ in bench.turns(bench.pick(4, 1), "event() and its floors"):
        with bench.place() as home:
            found += bench.tell(home, "steadily.py", CALLS, ROUNDS, FLWR_TELEMETRY_SIDECAR="never")
    for percent, target in ((50, Target("≤ 6 times", "ratio", at_most=6)), (99, None)):
        ours, write, calls = (
            tuple(quantile(times[name], percent) / 1e3 for times in found)
            for name in ("event", "write", "calls")
        )
        what, append = f"event(), steady, p{percent}", "bare append of the same bytes"
        alone = "the six system calls of an append alone"
        floor = Figure("steady", f"{alone}, p{percent} (a floor over a floor)", append, "µs", calls, write)
        times = number(statistics.median(floor.ratios))
        why = (
            f"The six system calls that the other writers and the sealing sidecar need took {times} times as "
            "long as a bare append; the rest is Python, which checks, redacts and packs the details."
        )
        yield Figure("steady", what, append, "µs", ours, write, target, why=why)
        yield Figure("steady", what, alone, "µs", ours, calls)
        yield floor

    yield from _beside_peers(bench)


def _beside_peers(bench):
    def median_us(one):
        with bench.place() as home:
            command = bench.command(one, PEERS_CALLS.get(one.name, FAST_CALLS))
            return quantile(tell(command, bench.environment(home))["calls_ns"], 50) / 1e3

    what = "event(), steady, p50"
    if bench.contenders:
        everybody = {one: partial(median_us, one) for one in bench.everybody()}
        times = bench.in_turn(bench.pick(5, 1), "the calls of the peers", everybody)
        yield from bench.against_peers("steady", what, "µs", times, beside="{0.title}: {0.call}")
    for one in bench.missing:
        yield Figure("steady", what, one.title, "µs", (), note=one.why_missing)


def herd(bench):
    """All calls of all processes, beside those of Flower's own telemetry."""
    everybody = bench.everybody("flwr-1.41", "flwr-1.27")
    times = bench.in_turn(
        bench.pick(2, 1),
        f"{PROCESSES} processes at once",
        {one: partial(_herd_us, bench, one, OUR_CALLS if one is OURS else THEIR_CALLS) for one in everybody},
    )
    for percent in (99, 50):
        yield from bench.against_peers(
            "herd",
            f"event() under {PROCESSES} processes, p{percent}",
            "µs",
            {one: tuple(quantile(calls, percent) for calls in of) for one, of in times.items()},
            beside="{0.title}: {0.call}",
            targets=HERD_TARGETS if percent == 99 else None,
            note=lambda _one: f"{OUR_CALLS} and {THEIR_CALLS} events a process",
        )


def _herd_us(bench, one, calls):
    """Microseconds of every call but the first of each process."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with bench.place() as home, contextlib.ExitStack() as stack:
        command, environment = bench.command(one, calls + 1, "herd"), bench.environment(home)
        members = []
        for _ in range(PROCESSES):
            member = stack.enter_context(subprocess.Popen(command, env=environment, text=True, **pipes))
            stack.callback(member.kill)
            members.append(member)
        for member in members:
            member.stdout.readline()
        for member in members:
            member.stdin.write("\n")
            member.stdin.flush()
        told = [member.communicate(timeout=TIMEOUT_S)[0].splitlines()[-1] for member in members]
    return [nanoseconds / 1e3 for line in told for nanoseconds in json.loads(line)["calls_ns"]]


def held_up(bench):
    """Beside the same without the stopped process."""
    found = []
    for _ in bench.turns(bench.pick(7, 3), "events that are held up"):
        with bench.place() as home:
            found.append(bench.tell(home, "held_up.py", 40, FLWR_TELEMETRY_SIDECAR="never"))
    for name, of in (("median", statistics.median), ("worst of 40", max)):
        held, free = (tuple(of(one[kind]) for one in found) for kind in ("held_ms", "free_ms"))
        what = f"event() while a stopped process holds the lock, {name}"
        yield Figure("held-up", what, "no process holds it", "ms", held, free)
