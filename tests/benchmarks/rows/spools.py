"""Spools that are worked off: from spool to outbox, and by ``flwr_telemetryd --once`` to the collector."""

import contextlib
import shutil
import statistics
from functools import partial
from typing import NamedTuple

from tests.benchmarks.figures import Figure, Target, number
from tests.support import homes

EVENTS = 100_000
THROUGHPUT_KINDS = {
    "equal": "equal events",
    "workloads": "workloads of two events, each with a run-id-hash",
    "distinct": "all details distinct",
}
THROUGHPUT_TARGET = Target("≥ 1/2", "ratio", at_least=0.5)
DECODING = "msgpack decoding alone"
MEMORY_KINDS = (
    ("equal", 1, "one event"),
    ("equal", 1_000_000, "equal events"),
    ("workloads", 100_000, "workloads of two events"),
    ("distinct", 100_000, "all details distinct"),
    ("apart", 20_000, "events of which no two share a body"),
)
LIBRARIES = "import filelock, msgpack, psutil, requests alone"
SMALL_TARGET = Target("≤ 30 MiB", "ours", at_most=30)
MEMORY_TARGET = Target("≤ 1.3 times", "ratio", at_most=1.3)
SIZES = {1_000: 41, 10_000: 15, 100_000: 3, 1_000_000: 3}  # and their rounds; small sizes are mostly noise
# One workload has as many types of events, and so of requests, as the other sizes up to 10⁴.
LEAST = 2
LINEAR = Target("linear: ≤ 1.1 times", "ratio", at_most=1.1)
FLAT = Target("flat: ≤ 1.1 times", "ratio", at_most=1.1)
UNLIMITED = {"spool_max_mib": 4000, "sent_max_mib": 4000}


class Taken(NamedTuple):
    """The costs of a run."""

    peak_kib: int
    busy_s: float
    """Processor time."""
    modules: int
    requests: int = 0


def throughput(bench):
    """Events per millisecond, beside decoding the same bytes."""
    for kind, events in THROUGHPUT_KINDS.items():
        way, found = f"spool to outbox, {events}", []
        for _ in bench.turns(bench.pick(3, 1), way):
            with bench.place() as home:
                found += bench.tell(home, "coalescing.py", home, kind, EVENTS, 3)
        ours, decoding, with_json = (
            tuple(EVENTS / one[name] / 1e3 for one in found) for name in ("coalesce_s", "decode_s", "json_s")
        )
        what = f"{way}: {found[0]['bodies']:,} bodies of {EVENTS:,} events"
        beside = "the libraries alone: decoding, checksums, and an event's own values as JSON and hashed"
        floor = Figure("throughput", f"{way}, {beside}", DECODING, "events/ms", with_json, decoding)
        why = (
            "The libraries alone, which decode, check, and hash the JSON of each event's own values, ran at "
            f"{number(statistics.median(floor.ratios))} times decoding; the rest is Python for each event."
        )
        yield Figure("throughput", what, DECODING, "events/ms", ours, decoding, THROUGHPUT_TARGET, why=why)
        yield Figure("throughput", what, beside, "events/ms", ours, with_json)
        yield floor


def memory(bench):
    """The peak of ``--once``, beside that of its imports."""
    for kind, full, what in MEMORY_KINDS:
        count = full if full == 1 else bench.pick(full, full // 10)
        with spool_of(bench, kind, count) as spool:
            measures = {"floor": partial(_floor, bench), "ours": partial(_once, bench, spool, count)}
            title = f"peak memory, {what}"
            found = bench.in_turn(bench.pick(3, 1), title, measures)
        ours, floor = (tuple(taken.peak_kib / 1024 for taken in found[name]) for name in ("ours", "floor"))
        requests = found["ours"][-1].requests
        events = f"{count:,} {what}, {requests:,} requests" if count > 1 else what
        target = SMALL_TARGET if count == 1 else MEMORY_TARGET
        why = (
            f"The imports alone took {number(statistics.median(floor))} MiB, and the names of {requests:,} "
            "files that wait for delivery are held at once."
        )
        yield Figure("memory", f"--once, {events}", LIBRARIES, "MiB", ours, floor, target, why=why)
        if count == 1:
            ours, floor = (tuple(taken.modules for taken in found[name]) for name in ("ours", "floor"))
            yield Figure("memory", f"--once, {events}, modules loaded", LIBRARIES, "", ours, floor)


def scale(bench):
    """Processor time of a further event, and peak memory, of each size beside a tenth of it, in turn."""
    for size in [*SIZES][: bench.pick(4, 3)]:
        costs_us, peaks_mib, decodes_us = _one_size(bench, size)
        what = f"--once, processor time, {size:,} events"
        yield Figure("scale", what, DECODING, "µs/event", costs_us[size], decodes_us, size=size)
        if (tenth := size // 10) in costs_us:
            before = f"{tenth:,} events"
            why = f"Decoding alone took {number(statistics.median(decodes_us))} µs an event."
            ours, theirs = costs_us[size], costs_us[tenth]
            yield Figure("scale", what, before, "µs/event", ours, theirs, LINEAR, why=why)
            what = f"--once, peak memory, {size:,} events"
            yield Figure("scale", what, before, "MiB", peaks_mib[size], peaks_mib[tenth], FLAT)


def _one_size(bench, size):
    """Processor time of a further event and peak memory, by size, and decoding.

    In turn: one workload, whose cost is taken off, a tenth of the size, the size, and decoding.
    """
    rounds = SIZES[size] if not bench.quick else max(1, SIZES[size] // 3)
    with contextlib.ExitStack() as stack:
        sizes = [one for one in (LEAST, size // 10, size) if one in {LEAST, *SIZES}]
        spool = {one: stack.enter_context(spool_of(bench, "workloads", one)) for one in sizes}

        def decode_us():
            with bench.place() as home:
                count, busy_s = bench.tell(home, "coalescing.py", spool[size])
            return 1e6 * busy_s / count

        measures = {one: partial(_once, bench, spool[one], one) for one in sizes}
        found = bench.in_turn(rounds, f"{size:,} events", {**measures, "decode": decode_us})
    least, *others = sizes
    costs_us = {
        one: tuple(
            1e6 * (of.busy_s - start.busy_s) / (one - least)
            for of, start in zip(found[one], found[least], strict=True)
        )
        for one in others
    }
    peaks_mib = {one: tuple(of.peak_kib / 1024 for of in found[one]) for one in others}
    return costs_us, peaks_mib, found["decode"]


@contextlib.contextmanager
def spool_of(bench, kind, count):
    """A spool of this kind, which is copied for each run."""
    with bench.place() as home:
        path = home / "kept" / kind / "spool"
        bench.tell(home, "spooling.py", kind, count, path)
        yield path


def once(bench, spool, events, **settings):
    """Work off a copy of a spool; all events must arrive. The costs, and the counts of the collector."""
    with bench.place(**UNLIMITED, **settings) as home:
        target = homes.spool(home / ".flwr")
        target.parent.mkdir(mode=0o700)
        shutil.copytree(spool, target)
        bench.collector.ask("reset")
        taken = Taken(*bench.tell(home, "once.py"))
        counts = bench.collector.ask()
    if counts.events != events:
        raise RuntimeError(f"{counts.events} of {events} events have arrived")
    return taken._replace(requests=counts.requests), counts


def _once(bench, spool, events):
    return once(bench, spool, events)[0]


def _floor(bench):
    with bench.place() as home:
        return Taken(*bench.tell(home, "once.py", "floor"))
