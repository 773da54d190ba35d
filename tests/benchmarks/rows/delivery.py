"""The costs until events are delivered: wall time, and requests and bytes on the wire."""

import contextlib
import subprocess
import time
from functools import partial

from tests.benchmarks.bench import PROGRAMS, tell
from tests.benchmarks.figures import Figure, Target, number
from tests.benchmarks.peers import OURS
from tests.e2e import sides

WORKLOAD = str(PROGRAMS / "workload.py")
WALL_TARGET = Target("≤ 1.01 times", "ratio", at_most=1.01)

WORKLOADS, THEIR_WORKLOADS = 1000, 100
# The two events of a workload are in different bodies, and each repeats the IDs.
IDS_BYTES = WORKLOADS * 2 * (len('"",') * 2 + 36 + 64)
ZIPPED = "to a collector that takes compressed bodies"
REQUESTS = Target("≤ 4", "ours", at_most=4)
BYTES = Target("≤ 1/30", "ratio", at_most=1 / 30)
TIMEOUT_S = 120


def wall(bench):
    """The time of a workload with a collector that never answers, beside the same with telemetry off.

    The collector accepts every request. Ours is run by ``flwr-telemetry run`` both times. Flower 1.27 waits
    two minutes, in which the others are measured.
    """
    work_s = bench.pick(10, 2)
    with bench.place() as home:
        hashes = str(work_s * bench.tell(home, "workload.py", "-", "-"))
    flower = ".".join(map(str, sides.RELEASE))
    ours = [*sides.OURS, str(OURS.python), WORKLOAD, "-", hashes]

    def measured(title, command, count, bench, target=None):
        measures = {enabled: partial(_wall_s, bench, command(bench), enabled) for enabled in "01"}
        bench.collector.ask("hang")
        try:
            found = bench.in_turn(count, f"a collector that never answers, {title}", measures)
        finally:
            bench.collector.ask("answer")
        what = f"wall time of {work_s} s of work, {title}"
        return Figure("wall", what, "telemetry off", "s", found["1"], found["0"], target)

    def theirs(one):
        return lambda bench: [*bench.python(one), WORKLOAD, bench.collector.origin, hashes]

    with contextlib.ExitStack() as stack:
        later = [
            stack.enter_context(bench.aside(partial(measured, one.title, theirs(one), 1)))
            for one in bench.everybody("flwr-1.27")[1:]
        ]
        yield measured(f"through us (flwr {flower})", lambda _: ours, bench.pick(5, 2), bench, WALL_TARGET)
        for one in bench.everybody("flwr-1.41")[1:]:
            yield measured(one.title, theirs(one), bench.pick(2, 1), bench)
        for figure in later:
            yield figure.result()


def _wall_s(bench, command, enabled):
    """The seconds of the run; its status may be bad, because 1.27 raises the timeout out of ``flwr_exit``."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with bench.place() as home:
        environment = bench.environment(home, FLWR_TELEMETRY_ENABLED=enabled)
        begin = time.perf_counter()
        subprocess.run(command, env=environment, check=False, **streams)
        return time.perf_counter() - begin


def wire(bench):
    """Requests, connections and bytes of many workloads at once, beside Flower's own telemetry.

    Flower's figures are those of fewer workloads, multiplied.
    """
    measures = {one.name: partial(_many, bench, one) for one in bench.everybody("flwr-1.41")}
    found = bench.in_turn(
        bench.pick(3, 1),
        f"{WORKLOADS} workloads at once",
        {**measures, ZIPPED: partial(_many, bench, OURS, zipped=True)},
    )
    more = WORKLOADS / THEIR_WORKLOADS
    ours, theirs = found[OURS.name], found.get("flwr-1.41", ())
    beside = next((one.title for one in bench.everybody("flwr-1.41")[1:]), "-")
    note = f"{THEIR_WORKLOADS} workloads, times {more:g}" if theirs else "without peers"
    for counted, unit, of, mine, target in (
        ("requests", "", lambda counts: counts.requests, ours, REQUESTS),
        ("connections", "", lambda counts: counts.connections, ours, None),
        ("bytes sent", "kB", lambda counts: counts.sent_bytes / 1e3, ours, None),
        ("bytes both ways", "kB", _both_ways_kb, ours, BYTES),
        (f"bytes both ways, {ZIPPED}", "kB", _both_ways_kb, found[ZIPPED], BYTES),
    ):
        their = tuple(more * of(counts) for counts in theirs)
        why = f"The random IDs that the events carry are {number(IDS_BYTES / 1e3)} kB, uncompressed." * (
            target is BYTES
        )
        what = f"{WORKLOADS} workloads of 2 events at once: {counted}"
        yield Figure("wire", what, beside, unit, tuple(map(of, mine)), their, target, note, why=why)
    mine, ids = tuple(map(_both_ways_kb, ours)), (IDS_BYTES / 1e3,) * len(ours)
    what = f"{WORKLOADS} workloads of 2 events at once: bytes both ways"
    floor = "the cluster IDs and run-id-hashes alone, as JSON has them"
    yield Figure("wire", what, floor, "kB", mine, ids)


def _both_ways_kb(counts):
    return (counts.sent_bytes + counts.received_bytes) / 1e3


def _many(bench, one, *, zipped=False):
    """The counts of the collector after all events of all workloads have arrived."""
    origin, events = bench.collector.counted_origin, 2 * (WORKLOADS if one is OURS else THEIR_WORKLOADS)
    with bench.place(f"{origin}/api/v1/event") as home, contextlib.ExitStack() as stack:
        if zipped:
            bench.collector.ask("unzip")
            stack.callback(bench.collector.ask, "plain")
        bench.collector.ask("reset")
        tell(bench.command(one, events, "many", origin=origin), bench.environment(home))
        deadline_s = time.monotonic() + TIMEOUT_S
        while (counts := bench.collector.ask()).events < events:
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{one.title}: {counts.events} of {events} events have arrived")
            time.sleep(0.2)
    return bench.collector.ask()
