"""A small workload as Flower's commands are made: ``python by_workload.py ORIGIN HASHES``.

It reports that it starts, works so much, reports that it ends, and ends by ``flwr_exit``. Where ORIGIN is
``-`` the events go where they go. With ``-`` for HASHES it prints how many a second it can do, and does no
more.
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
    types = telemetry.EventType
    enter, leave = types.RUN_SUPERLINK_ENTER, types.RUN_SUPERLINK_LEAVE
    telemetry.event(enter)
    work(int(hashes))
    of_flower("exit").flwr_exit(0, event_type=leave)


if __name__ == "__main__":
    main(*sys.argv[1:])
