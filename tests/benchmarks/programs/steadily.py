"""Steady events beside their floors, in turn: ``python steadily.py CALLS ROUNDS``; it prints nanoseconds.

The floors are one ``os.write`` of the same bytes, and the six system calls that every append needs: one to
see that the descriptor still means the segment, and the five that the contract asks.
"""

import fcntl
import json
import os
import sys
import time
from pathlib import Path

from flwr_telemetry import event
from flwr_telemetry.layout import Home

DETAILS = {"backend": "ray", "num-supernodes": 10}
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def six_calls(descriptor, path, record):
    fcntl.fcntl(descriptor, fcntl.F_GETSIG)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.lstat(path)
    os.write(descriptor, record)
    os.fstat(descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def main(calls, rounds):
    home = Path(os.environ["FLWR_HOME"])
    event("PING", DETAILS).result()
    record = Home(home).host().events.read_bytes()
    bare, locked = (os.open(home / name, _FLAGS, 0o600) for name in ("bare", "locked"))
    path, clock = str(home / "locked"), time.perf_counter_ns
    found = []
    for _ in range(rounds):
        times = {"event": [], "write": [], "calls": []}
        for _ in range(calls):
            begin = clock()
            event("PING", DETAILS)
            first = clock()
            os.write(bare, record)
            second = clock()
            six_calls(locked, path, record)
            third = clock()
            times["event"].append(first - begin)
            times["write"].append(second - first)
            times["calls"].append(third - second)
        found.append(times)
    assert event("PING", DETAILS).result() == "spooled"
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
