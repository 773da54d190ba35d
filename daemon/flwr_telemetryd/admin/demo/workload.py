"""``python -m flwr_telemetryd.admin.demo.workload NUMBER``: one workload of the demo.

It reports the events of a simulation of Flower: one at its start and one at its end.
"""

from __future__ import annotations

import hashlib
import sys

from flwr_telemetry import EventType, event

ENTER, LEAVE = EventType.FLWR_SIMULATION_RUN_ENTER, EventType.FLWR_SIMULATION_RUN_LEAVE


def run_id_hash(number: int) -> str:
    """A detail that only the events of this workload have."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def main(number: int) -> int:
    """Report both events; the exit code is 0 if both are in the spool. Raises the error of a future."""
    details = {"run-id-hash": run_id_hash(number)}
    futures = [
        event(ENTER, {"backend": "ray", "num-supernodes": 10, **details}),
        event(LEAVE, {**details, "success": True}),
    ]
    return int([future.result() for future in futures] != ["spooled"] * 2)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
