"""Processor time per event, all of it, until it is delivered over TLS.

Each contender runs below a supervisor that waits for whatever it leaves behind and adds up what the system
says of it: our sidecar's whole life, with the default settings, is in ours. The collector is another process.
"""

from tests.benchmarks.bench import PROGRAMS, tell
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.peers import OURS

EVENTS = 1000
FEWER = {"flwr-1.41": 200, "flwr-1.27": 200, "iterative-telemetry": 50}
TARGET = Target("≤ 1/200", "ratio", at_most=1 / 200)
NOTE = "all processes, less the reporting program without events; ours has loaded Flower, too"


def measure(bench):
    """Ours and every peer, one at a time, round by round."""
    times = {}
    parts = []
    floors_ms = []
    everybody = bench.everybody()
    for _ in bench.turns(bench.pick(3, 1), "processor time to the end of a sidecar's life"):
        for one in everybody:
            if one is OURS:
                first_s, others_s = _ours(bench)
                parts.append((first_s, others_s))
                floors_ms.append(1e3 * _floor_s(bench))
                times.setdefault(one.name, []).append((first_s + others_s) * 1e3 / EVENTS)
            else:
                times.setdefault(one.name, []).append(_theirs(bench, one))
    mine = tuple(times[OURS.name])
    emitter, sidecar = (tuple(part[at] * 1e3 for part in parts) for at in (0, 1))
    yield Figure("cpu", f"of {EVENTS} events: the reporting program", "-", "ms", emitter)
    what = f"of {EVENTS} events: the sidecar's life, with its idle minute"
    yield Figure("cpu", what, "its imports and one request over TLS", "ms", sidecar, tuple(floors_ms))
    what = "processor time per event until delivered"
    if len(everybody) == 1:
        yield Figure("cpu", what, "-", "ms", mine, note="without peers")
    for one in everybody[1:]:
        target = TARGET if one.name == "flwr-1.41" else None
        events = FEWER.get(one.name, EVENTS)
        note = f"{events} events; {NOTE}" if target else f"{events} events"
        yield Figure("cpu", what, one.title, "ms", mine, tuple(times[one.name]), target, note)
    for one in bench.missing:
        yield Figure("cpu", what, one.title, "ms", mine, note=one.why)


def _ours(bench):
    """Seconds of the reporting program, which has loaded Flower as Flower's own has, and of the sidecar."""
    nothing = _delivered(bench, OURS, 0, "flower")
    whole = _delivered(bench, OURS, EVENTS, "flower")
    return whole["first_s"] - nothing["first_s"], sum(whole["others_s"])


def _floor_s(bench):
    """Seconds of what no sidecar can do without."""
    command = [str(OURS.python), str(PROGRAMS / "posting.py"), bench.collector.origin]
    return float(_supervised(bench, command)["first_s"])


def _theirs(bench, one):
    """Milliseconds per event."""
    events = FEWER.get(one.name, EVENTS)
    nothing = _delivered(bench, one, 0)
    whole = _delivered(bench, one, events)
    busy_s = [told["first_s"] + sum(told["others_s"]) for told in (nothing, whole)]
    return (busy_s[1] - busy_s[0]) * 1e3 / events


def _delivered(bench, one, events, *mode):
    bench.collector.ask("reset")
    told = _supervised(bench, bench.command(one, events, *mode))
    arrived = bench.collector.ask().events
    if told["failed"] or arrived < events:
        raise RuntimeError(f"{one.title}: {arrived} of {events} events have arrived: {told}")
    return told


def _supervised(bench, command):
    with bench.place() as home:
        supervisor = [str(OURS.python), str(PROGRAMS / "supervise.py")]
        return tell([*supervisor, *command], bench.environment(home))
