"""The product's own collector: bodies a second, answered after the commit; its report; a deletion.

The client runs on the same machine. Beside it stands a bare ASGI handler on the same server, which reads a
body and answers. Need of 100,000 homes (``fleet_simulation.py``): 62 bodies a second, and 118 in the busiest
ten seconds after an outage. The target is ten times the first; ``note`` tells whether the second is reached.
"""

import contextlib
import statistics
import subprocess
import sys
import time
import uuid

import psutil

from flwr_telemetry_collector import intake
from flwr_telemetry_collector.database import Database
from flwr_telemetry_collector.store import Store
from flwr_telemetry_collector.writer import today
from tests.benchmarks.bench import PROGRAMS, tell
from tests.benchmarks.figures import Figure, Target, number, quantile
from tests.benchmarks.programs.posting import EVENTS, Run
from tests.support.receiving import Postgres, Serving, has_postgres, ran

CONNECTIONS = (16, 128)
NEED, BURST = 62, 118
TARGET = Target(f"≥ {10 * NEED} a second", "ours", at_least=10 * NEED)
BODIES, SMALL = 200_000, 20_000
_IN_COMMIT = 500


def measure(bench):
    """Both databases, by connections; then what an operator asks of 200,000 bodies."""
    with contextlib.ExitStack() as stack:
        databases = {"SQLite": _files(bench)}
        if has_postgres():
            databases["PostgreSQL"] = stack.enter_context(Postgres()).new_database
        for connections in CONNECTIONS:
            yield from _throughput(bench, databases, connections)
        for kind, new in databases.items():
            yield from _questions(bench, kind, new())
    if not has_postgres():
        yield Figure("collector", "on PostgreSQL", "-", "bodies/s", (), note="no PostgreSQL is installed")


def _files(bench):
    return lambda: str(bench.directory / f"{uuid.uuid4().hex}.db")


def _throughput(bench, databases, connections):
    seconds = bench.pick(8, 3)
    told = {kind: [] for kind in (*databases, "bare")}
    for _ in bench.turns(bench.pick(3, 1), f"the collector, {connections} connections"):
        for kind, new in databases.items():
            with Serving(new(), bench.directory) as running:
                told[kind].append(_posted(running.url, running.process.pid, connections, seconds))
                running.stop()
        with _bare() as (url, pid):
            told["bare"].append(_posted(url, pid, connections, seconds))
    floor = [one["rate"] for one in told.pop("bare")]
    for kind, rounds in told.items():
        what = f"{kind}, {connections} connections"
        rates = tuple(one["rate"] for one in rounds)
        told_of = f"{EVENTS} events a body; {_times(rates, BURST)} the busiest ten seconds"
        beside = "a bare ASGI handler that only reads"
        why = (
            f"A handler that only reads answered {number(statistics.median(floor))} a second on the same "
            "server, and the client runs on the same cores."
        )
        yield Figure(
            "collector", f"{what}: bodies", beside, "1/s", rates, tuple(floor), TARGET, told_of, why=why
        )
        for name, unit in (("p99", "ms"), ("cpu", "ms"), ("peak", "MiB")):
            labels = {"p99": "p99 of the answer", "cpu": "processor time of a body", "peak": "memory"}
            values = tuple(one[name] for one in rounds)
            yield Figure("collector", f"{what}: {labels[name]}", "-", unit, values)


def _times(rates, need):
    return f"{sorted(rates)[len(rates) // 2] / need:.1f} times"


def _posted(url, pid, connections, seconds):
    """What a client was told in some seconds, and what it cost the server."""
    server = psutil.Process(pid)
    before = server.cpu_times()
    command = [sys.executable, str(PROGRAMS / "posting.py"), url, str(connections), str(seconds)]
    found = tell(command, None)
    after = server.cpu_times()
    assert set(found["statuses"]) == {"201"}, found["statuses"]
    count = len(found["times"])
    busy_s = after.user + after.system - before.user - before.system
    return {
        "rate": count / found["seconds"],
        "p99": 1e3 * quantile(found["times"], 99),
        "cpu": 1e3 * busy_s / count,
        "peak": server.memory_info().rss / 2**20,
    }


@contextlib.contextmanager
def _bare():
    process = subprocess.Popen([sys.executable, str(PROGRAMS / "bare.py")], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.kill()
        process.communicate()


def _questions(bench, kind, address):
    """The time of ``report``, and of the deletion of one source, on many bodies."""
    count = bench.pick(BODIES, SMALL)
    bench.show(f"{count} bodies for {kind}")
    source = _fill(address, count)
    report = tuple(_seconds("report", "--json", "--db", address) for _ in range(bench.pick(3, 1)))
    deleted = (_seconds("forget", source, "--db", address),)
    start = tuple(_seconds("--version") for _ in range(bench.pick(3, 1)))
    what = f"{kind}, {count:,} bodies"
    yield Figure("collector", f"{what}: report", "start of the command", "s", report, start)
    yield Figure(
        "collector", f"{what}: deletion of one source", "-", "s", deleted, note="with the command's start"
    )


def _fill(address, count):
    """Store bodies of 30 days, ten for each source; the ID of one source."""
    run, database = Run("http://x/", 1, 1), Database(address)
    store = Store()
    sources = [str(uuid.uuid4()) for _ in range(count // 10)]
    for begin in range(0, count, _IN_COMMIT):
        some = [
            intake.parcel(run.body(sources[number % len(sources)]).encode(), None)
            for number in range(begin, min(begin + _IN_COMMIT, count))
        ]
        with database.writing() as connection:
            store.add(connection, some, today() - begin * 30 // count)
    database.close()
    return sources[0]


def _seconds(*arguments):
    began = time.perf_counter()
    ran(*arguments, timeout=600)
    return time.perf_counter() - began
