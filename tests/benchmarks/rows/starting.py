"""What a process pays once: the import of the emitter's names, its first event, a sidecar's start."""

import contextlib
import os
import statistics
import subprocess
import time
from functools import partial

from flwr_telemetry import spawn
from flwr_telemetry.layout import Home
from tests.benchmarks.bench import PROGRAMS
from tests.benchmarks.figures import Figure, Target, number
from tests.benchmarks.peers import OURS
from tests.benchmarks.rows.lone import FLOOR
from tests.support import homes, processes, records

LOADED = {"flwr": "a process that has loaded flwr", "bare": "a bare Python"}
FIRST_MS = {  # the targets, by what the process has loaded and by the sidecar
    ("flwr", "running"): 3,
    ("flwr", "to be started"): 15,
    ("bare", "running"): 15,
}
SIDECARS = ("running", "to be started")
IMPORT = Target("≤ 2 ms", "ours", at_most=2)
LOADS = "the imports of the first event alone"
CALLS = "the system calls of a first event by bare code"
FLOORS = {"bare append to a new file": "append_ms", CALLS: "calls_ms", LOADS: "load_ms"}

# The sidecar of the time when the targets were set: its modules, and its start beside the same floor. Of that
# the least of six was taken, in turn, on a busy machine.
FORMER_MODULES, FORMER_TIMES = 426, 3.5


def measure_import(bench):
    """``from flwr_telemetry import event``, beside an import of a module that is loaded."""
    for loaded, what in LOADED.items():

        def import_ms(*mode, loaded=loaded):
            with bench.place() as home:
                told = bench.tell(home, "starting.py", loaded, *mode, FLWR_TELEMETRY_SIDECAR="never")
            return told["import_ms"]

        measures = {"ours": import_ms, "floor": lambda take=import_ms: take("floor")}
        found = bench.in_turn(bench.pick(15, 3), f"import in {what}", measures)
        target = IMPORT if loaded == "flwr" else None
        row, beside = f"from flwr_telemetry import event, in {what}", "an import of what is loaded already"
        yield Figure("import", row, beside, "ms", found["ours"], found["floor"], target)


def measure_first(bench):
    """The first event, with and without a running sidecar, beside a bare append and its imports."""
    for loaded, what in LOADED.items():
        times = {name: [] for name in (*SIDECARS, *FLOORS)}
        with bench.place() as served:
            for _ in bench.turns(bench.pick(15, 3), f"first event of {what}"):
                if not processes.sidecars(served / ".flwr"):
                    _first_ms(bench, served, "bare")
                    processes.running_sidecar(served / ".flwr")
                times["running"].append(_first_ms(bench, served, loaded))
                with bench.place(idle_exit_s=0, burst_window_s=0) as home:
                    times["to be started"].append(_first_ms(bench, home, loaded))
                    floors = bench.tell(home, "starting.py", loaded, "floor")
                    with contextlib.suppress(AssertionError):  # the place ends a slow sidecar
                        processes.wait_for_end(home / ".flwr")
                for floor, name in FLOORS.items():
                    times[floor].append(floors[name])
        loads, calls = (number(statistics.median(times[name])) for name in (LOADS, CALLS))
        why = (
            f"Its imports alone took {loads} ms and its system calls by bare code {calls} ms: the emitter is "
            "loaded at the first event, so that Flower's start does not pay for it."
        )
        for sidecar in SIDECARS:
            limit_ms = FIRST_MS.get((loaded, sidecar))
            for floor in FLOORS:
                row = f"first event of {what}, sidecar {sidecar}"
                target = None
                if limit_ms and floor == LOADS:
                    target = Target(f"≤ {limit_ms} ms", "ours", at_most=limit_ms)
                ours, theirs = tuple(times[sidecar]), tuple(times[floor])
                yield Figure("first", row, floor, "ms", ours, theirs, target, why=why)


def _first_ms(bench, home, loaded):
    return bench.tell(home, "starting.py", loaded, FLWR_TELEMETRY_SIDECAR="always")["first_ms"]


def measure_start(bench):
    """A sidecar from its start to the arrival of its first request, and the modules that it loads."""
    with bench.place(idle_exit_s=0, burst_window_s=0) as home:
        _sidecar(bench, home)  # keeps the facts of the machine for the others
        runs = {OURS: partial(_sidecar, bench, home), FLOOR: partial(_requesting, bench)}
        measures = {one: partial(_until_request_ms, bench, run) for one, run in runs.items()}
        found = bench.in_turn(bench.pick(15, 3), "the start of a sidecar", measures)
        modules = {one: (float(run("loading.py")),) for one, run in runs.items()}
    target = Target(f"≤ {FORMER_TIMES / 2:g} times", "ratio", at_most=FORMER_TIMES / 2)
    why = (
        f"A Python that sends one request took {number(statistics.median(found[FLOOR]))} ms to the same "
        "point, and a sidecar also reads its home, seals, writes a batch, and loads the modules for that."
    )
    what = "a sidecar's start to the arrival of its first request"
    note = f"wall time; {FORMER_TIMES:g} times when the target was set"
    yield Figure("start", what, FLOOR, "ms", found[OURS], found[FLOOR], target, note, why=why)
    most = FORMER_MODULES // 2
    why = (
        f"A Python that sends one request loads {number(modules[FLOOR][0])} of them; the others are the "
        "sidecar's own, one for each subject, and what these import."
    )
    target, note = Target(f"≤ {most}", "ours", at_most=most), f"{FORMER_MODULES} when the target was set"
    yield Figure(
        "start",
        "modules that a sidecar loads",
        FLOOR,
        "",
        modules[OURS],
        modules[FLOOR],
        target,
        note,
        why=why,
    )


def _until_request_ms(bench, run):
    bench.collector.ask("reset")
    begin = time.monotonic()
    run()
    counts = bench.collector.ask()
    if not counts.requests:
        raise RuntimeError("no request has arrived")
    return 1e3 * (counts.first_s - begin)


def _sidecar(bench, home, *before):
    """Run a sidecar as an event starts it, with two events in its spool; what it printed."""
    homes.put(home / ".flwr", records.series(2))
    started = spawn.sidecar(Home(home / ".flwr"), bench.environment(home))
    arguments = started.command[len(started.interpreter) :]
    command = [*started.interpreter, *(str(PROGRAMS / name) for name in before), *arguments]
    return _printed(command, started.environment)


def _requesting(bench, *before):
    command = [str(OURS.python), "-I", "-S", *(str(PROGRAMS / name) for name in (*before, "requesting.py"))]
    return _printed([*command, bench.collector.origin, bench.collector.store], dict(os.environ))


def _printed(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
