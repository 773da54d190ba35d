"""What a process pays once: the import of the emitter's names, and its first event."""

import contextlib

from tests.benchmarks.figures import Figure, Target
from tests.support import processes

LOADED = {"flwr": "a process that has loaded flwr", "bare": "a bare Python"}
SIDECARS = {"running": 3, "to be started": 15}  # and what is to be reached, in milliseconds
IMPORT = Target("≤ 2 ms", "ours", at_most=2)


def measure_import(bench):
    """``from flwr_telemetry import event``, beside an import of what is there already."""
    for loaded, what in LOADED.items():
        ours, floors = [], []
        for _ in bench.turns(bench.pick(15, 3), f"import in {what}", share=0.5):
            with bench.place() as home:
                ours.append(bench.tell(home, "starting.py", loaded, FLWR_TELEMETRY_SIDECAR="never"))
                floors.append(bench.tell(home, "starting.py", loaded, "floor"))
        mine, nothing = (tuple(one["import_ms"] for one in them) for them in (ours, floors))
        target = IMPORT if loaded == "flwr" else None
        beside = "an import of what is loaded already"
        yield Figure(
            "import", f"from flwr_telemetry import event, in {what}", beside, "ms", mine, nothing, target
        )


def measure_first(bench):
    """The first event, with a sidecar there and without, beside a bare append and `import msgpack` alone."""
    for loaded, what in LOADED.items():
        times = {name: [] for name in (*SIDECARS, "append", "msgpack")}
        with bench.place() as served:
            for _ in bench.turns(bench.pick(15, 3), f"first event of {what}", share=0.5):
                _let_run(bench, served)
                times["running"].append(_first(bench, served, loaded))
                with bench.place(idle_exit_s=0, burst_window_s=0) as home:
                    times["to be started"].append(_first(bench, home, loaded))
                    floor = bench.tell(home, "starting.py", loaded, "floor")
                    with contextlib.suppress(AssertionError):  # slow to end: the place ends it
                        processes.wait_for_end(home / ".flwr")
                times["append"].append(floor["append_ms"])
                times["msgpack"].append(floor["msgpack_ms"])
        floors = {
            "bare append to a new file": tuple(times["append"]),
            "import msgpack alone": tuple(times["msgpack"]),
        }
        for sidecar, limit_ms in SIDECARS.items():
            for floor_name, floor_ms in floors.items():
                row = f"first event of {what}, sidecar {sidecar}"
                is_aim = loaded == "flwr" and floor_name.startswith("bare")  # to say it once is enough
                target = Target(f"≤ {limit_ms} ms", "ours", at_most=limit_ms) if is_aim else None
                yield Figure("first", row, floor_name, "ms", tuple(times[sidecar]), floor_ms, target)


def _first(bench, home, loaded):
    told = bench.tell(home, "starting.py", loaded, FLWR_TELEMETRY_SIDECAR="always")
    return float(told["first_ms"])


def _let_run(bench, home):
    """Have a sidecar that runs and has come to rest."""
    if not processes.sidecars(home / ".flwr"):
        bench.tell(home, "starting.py", "bare", FLWR_TELEMETRY_SIDECAR="always")
        processes.running_sidecar(home / ".flwr")
