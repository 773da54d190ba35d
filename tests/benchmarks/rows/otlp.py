"""OTLP of many workloads: processor time and bytes, beside Flower's form and OpenTelemetry's own SDK."""

from functools import partial
from typing import NamedTuple

from tests.benchmarks.bench import tell
from tests.benchmarks.figures import Figure
from tests.benchmarks.rows import spools

WORKLOADS = 1000
EVENTS = 2 * WORKLOADS
RENDERED = 20_000
SDK = "otlp"


class Cost(NamedTuple):
    """What a process has cost until all its events had arrived."""

    busy_s: float
    sent_bytes: int
    requests: int


def measure(bench):
    """Ours is ``--once`` over a spool of all workloads; the SDK reports for all of them from one process."""
    with spools.spool_of(bench, "workloads", EVENTS) as spool:
        measures = {
            "Flower's form": partial(_ours, bench, spool, "/api/v1/event", format="flower"),
            **{
                f"OTLP, {name}": partial(_ours, bench, spool, "/v1/logs", format="otlp", compression=name)
                for name in ("none", "gzip")
            },
        }
        sdk = bench.everybody(SDK)[1:]
        for one in sdk:
            for name in ("none", "gzip"):
                measures[f"{one.title}, {name}"] = partial(_theirs, bench, one, name)
        found = bench.in_turn(bench.pick(5, 1), f"OTLP of {WORKLOADS} workloads", measures)
    for name in ("none", "gzip"):
        mine = found[f"OTLP, {name}"]
        for beside in ("Flower's form", *(f"{one.title}, {name}" for one in sdk)):
            for counted, unit, of in (
                ("processor time of the process", "ms", lambda cost: 1e3 * cost.busy_s),
                ("bytes sent over TLS", "kB", lambda cost: cost.sent_bytes / 1e3),
                ("requests", "", lambda cost: cost.requests),
            ):
                what = f"{WORKLOADS} workloads of 2 events in OTLP, {name}: {counted}"
                ours, theirs = tuple(map(of, mine)), tuple(map(of, found[beside]))
                yield Figure("otlp", what, beside, unit, ours, theirs)
    with bench.place() as home:
        rounds = bench.tell(home, "rendering.py", RENDERED, bench.pick(9, 3))
    ours, theirs = (tuple(1e6 * one[name] / RENDERED for one in rounds) for name in ("render_s", "dumps_s"))
    yield Figure("otlp", "a body to OTLP, a record", "json.dumps of the same requests", "µs", ours, theirs)


def _ours(bench, spool, path, **settings):
    taken, counts = spools.once(bench, spool, EVENTS, url=bench.collector.counted_origin + path, **settings)
    return Cost(taken.busy_s, counts.sent_bytes, counts.requests)


def _theirs(bench, one, compression):
    origin = bench.collector.counted_origin
    with bench.place() as home:
        bench.collector.ask("reset")
        environment = bench.environment(home, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
        told = tell(bench.command(one, EVENTS, "folded", origin=origin), environment)
        counts = bench.collector.ask()
    if counts.events != EVENTS:
        raise RuntimeError(f"{one.title}: {counts.events} of {EVENTS} events have arrived")
    return Cost(told["busy_s"], counts.sent_bytes, counts.requests)
