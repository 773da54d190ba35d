"""``python -m flwr_telemetryd.workload NUMBER``: a workload of the demo, and nothing else.

It reports what a simulation of Flower reports, one event at its start and one at its end.
"""

from __future__ import annotations

import hashlib
import sys

from flwr_telemetry import EventType, event

ENTER, LEAVE = EventType.FLWR_SIMULATION_RUN_ENTER, EventType.FLWR_SIMULATION_RUN_LEAVE
EVENTS = 2
"""How many events each workload reports."""


def run_id_hash(number: int) -> str:
    """What tells this workload's events from those of the others."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def main(number: int) -> int:
    """Report both events; 0 if both are in the spool. Raises what a future carries."""
    details = {"run-id-hash": run_id_hash(number)}
    futures = [
        event(ENTER, {"backend": "ray", "num-supernodes": 10, **details}),
        event(LEAVE, {**details, "success": True}),
    ]
    return int([future.result() for future in futures] != ["spooled"] * EVENTS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
