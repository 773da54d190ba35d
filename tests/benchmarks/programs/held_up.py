"""Events while a stopped process holds the lock of the segment, and while none does.

``python held_up.py EVENTS`` prints milliseconds of each.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from flwr_telemetry import event
from flwr_telemetry.layout import Home

HOLDER = """
import fcntl, os, signal, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print(flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def timed():
    begin = time.perf_counter_ns()
    event("PING", {"backend": "ray", "num-supernodes": 10})
    return (time.perf_counter_ns() - begin) / 1e6


def main(count: int) -> None:
    timed()
    segment = str(Home(Path(os.environ["FLWR_HOME"])).host().events)
    free = [timed() for _ in range(count)]
    command = [sys.executable, "-c", HOLDER, segment]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.waitpid(holder.pid, os.WUNTRACED)
        held = [timed() for _ in range(count)]
        holder.kill()
    print(json.dumps({"free_ms": free, "held_ms": held}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
