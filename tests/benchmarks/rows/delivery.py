"""The costs until events are delivered: processor time, wall time, and requests and bytes on the wire."""

import contextlib
import subprocess
import time
from functools import partial

from tests.benchmarks.bench import PROGRAMS, tell
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.peers import OURS
from tests.e2e import sides

EVENTS = 1000
FEWER = {"flwr-1.42": 200, "flwr-1.41": 200, "flwr-1.27": 200, "iterative-telemetry": 50}
CPU_TARGETS = {name: Target("≤ 1/200", "ratio", at_most=1 / 200) for name in ("flwr-1.42", "flwr-1.41")}
CPU_NOTE = "all processes, less the reporting program without events; ours has loaded Flower, too"

FLOOR = "a Python that sends one request over TLS"

WORKLOAD = str(PROGRAMS / "workload.py")
WALL_TARGET = Target("≤ 1.01 times", "ratio", at_most=1.01)

WORKLOADS, THEIR_WORKLOADS = 1000, 100
# The two events of a workload are in different bodies, and each repeats the IDs.
IDS_BYTES = WORKLOADS * 2 * (len('"",') * 2 + 36 + 64)
ZIPPED = "to a collector that takes compressed bodies"
REQUESTS = Target("≤ 4", "ours", at_most=4)
BYTES = Target("≤ 1/30", "ratio", at_most=1 / 30)
TIMEOUT_S = 120


def cpu(bench):
    """Processor time per event of all processes until it is delivered over TLS, beside each peer.

    A supervisor waits for each process that a contender leaves behind, and adds up their times. So ours
    includes the sidecar's whole run with the default settings. The collector is another process.
    """
    parts, floors_ms = [], []

    def ours():
        nothing, whole = (delivered(bench, OURS, events, "flower") for events in (0, EVENTS))
        reporting_s = whole["first_s"] - nothing["first_s"]
        sidecar_s = sum(whole["others_s"])
        parts.append((1e3 * reporting_s, 1e3 * sidecar_s))
        floors_ms.append(floor_ms(bench))
        return (reporting_s + sidecar_s) * 1e3 / EVENTS

    def theirs(one):
        events = FEWER.get(one.name, EVENTS)
        told = [delivered(bench, one, count) for count in (0, events)]
        nothing_s, whole_s = (each["first_s"] + sum(each["others_s"]) for each in told)
        return (whole_s - nothing_s) * 1e3 / events

    def note(one):
        events = f"{FEWER.get(one.name, EVENTS)} events"
        return f"{events}; {CPU_NOTE}" if one.name in CPU_TARGETS else events

    measures = {OURS: ours, **{one: partial(theirs, one) for one in bench.contenders}}
    times = bench.in_turn(bench.pick(3, 1), "processor time to the end of a sidecar's run", measures)
    reporting, sidecar = zip(*parts, strict=True)
    yield Figure("cpu", f"of {EVENTS} events: the reporting program", "-", "ms", reporting)
    what = f"of {EVENTS} events: the sidecar's run, with its idle minute"
    yield Figure("cpu", what, FLOOR, "ms", sidecar, tuple(floors_ms))
    what = "processor time per event until delivered"
    yield from bench.against_peers("cpu", what, "ms", times, targets=CPU_TARGETS, note=note)
    for one in bench.missing:
        yield Figure("cpu", what, one.title, "ms", times[OURS], note=one.why_missing)


def floor_ms(bench):
    """The milliseconds of a Python that sends one request over TLS."""
    command = [str(OURS.python), "-I", "-S", str(PROGRAMS / "requesting.py")]
    told = _supervised(bench, [*command, bench.collector.origin, bench.collector.bundle])
    if told["failed"]:
        raise RuntimeError("the floor could not be measured")
    return 1e3 * told["first_s"]


def delivered(bench, one, events, *mode, home=None):
    """The times of one contender; all its events must arrive."""
    bench.collector.ask("reset")
    told = _supervised(bench, bench.command(one, events, *mode), home)
    arrived = bench.collector.ask().events
    if told["failed"] or arrived < events:
        raise RuntimeError(f"{one.title}: {arrived} of {events} events have arrived: {told}")
    return told


def _supervised(bench, command, home=None):
    with contextlib.nullcontext(home) if home else bench.place() as chosen:
        return bench.tell(chosen, "supervise.py", *command)


def wall(bench):
    """The time of a workload with a collector that never answers, beside the same with telemetry off.

    The collector accepts every request. Ours is run by ``flwr-telemetry run`` both times.
    """
    work_s = bench.pick(10, 2)
    with bench.place() as home:
        hashes = str(work_s * bench.tell(home, "workload.py", "-", "-"))
    flower = ".".join(map(str, sides.RELEASE))
    ours = [*sides.OURS, str(OURS.python), WORKLOAD, "-", hashes]
    ways = [(f"through us (flwr {flower})", ours, bench.pick(7, 2), WALL_TARGET)]
    rounds = {"flwr-1.41": bench.pick(3, 1), "flwr-1.27": 1}
    for one in bench.everybody(*rounds)[1:]:
        command = [str(one.python), WORKLOAD, bench.collector.origin, hashes]
        ways.append((one.title, command, rounds[one.name], None))
    bench.collector.ask("hang")
    try:
        for title, command, count, target in ways:
            measures = {enabled: partial(_wall_s, bench, command, enabled) for enabled in "01"}
            what = f"a collector that never answers, {title}"
            found = bench.in_turn(count, what, measures)
            what = f"wall time of {work_s} s of work, {title}"
            yield Figure("wall", what, "telemetry off", "s", found["1"], found["0"], target)
    finally:
        bench.collector.ask("answer")


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
        what = f"{WORKLOADS} workloads of 2 events at once: {counted}"
        yield Figure("wire", what, beside, unit, tuple(map(of, mine)), their, target, note)
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
