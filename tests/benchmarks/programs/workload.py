"""A small workload that is built like Flower's commands: ``python workload.py ORIGIN HASHES``.

It reports its start, works, reports its end, and ends by ``flwr_exit``. With ``-`` as ORIGIN the address of
the events stays as it is. With ``-`` as HASHES it only prints how many hashes it can compute a second.
"""

import hashlib
import importlib
import sys
import time

BLOCK = bytes(1_000_000)


def work(hashes):
    for _ in range(hashes):
        hashlib.sha256(BLOCK).digest()


def of_flower(name):
    """A module that has moved."""
    try:
        return importlib.import_module(f"flwr.supercore.{name}")
    except ImportError:
        return importlib.import_module(f"flwr.common.{name}")


def main(origin, hashes):
    if hashes == "-":
        begin = time.perf_counter()
        work(500)
        print(round(500 / (time.perf_counter() - begin)))
        return
    telemetry = of_flower("telemetry")
    if origin != "-":
        telemetry.TELEMETRY_EVENTS_URL = f"{origin}/api/v1/event"
    telemetry.event(telemetry.EventType.RUN_SUPERLINK_ENTER)
    work(int(hashes))
    of_flower("exit").flwr_exit(0, event_type=telemetry.EventType.RUN_SUPERLINK_LEAVE)


if __name__ == "__main__":
    main(*sys.argv[1:])
