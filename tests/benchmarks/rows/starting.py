"""The costs that a process pays once: the import of the emitter's names, and its first event."""

import contextlib

from tests.benchmarks.figures import Figure, Target
from tests.support import processes

LOADED = {"flwr": "a process that has loaded flwr", "bare": "a bare Python"}
FIRST_MS = {"running": 3, "to be started": 15}  # targets, by the sidecar
IMPORT = Target("≤ 2 ms", "ours", at_most=2)
FLOORS = {"bare append to a new file": "append_ms", "the imports of the first event alone": "load_ms"}


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
        times = {name: [] for name in (*FIRST_MS, *FLOORS)}
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
        for sidecar, limit_ms in FIRST_MS.items():
            for floor in FLOORS:
                row = f"first event of {what}, sidecar {sidecar}"
                has_target = loaded == "flwr" and floor.startswith("bare")
                target = Target(f"≤ {limit_ms} ms", "ours", at_most=limit_ms) if has_target else None
                yield Figure("first", row, floor, "ms", tuple(times[sidecar]), tuple(times[floor]), target)


def _first_ms(bench, home, loaded):
    return bench.tell(home, "starting.py", loaded, FLWR_TELEMETRY_SIDECAR="always")["first_ms"]
