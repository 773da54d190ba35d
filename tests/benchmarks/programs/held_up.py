"""Milliseconds of events while a stopped process holds the segment's lock, and without: ``… EVENTS``."""

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


def timed_ms():
    begin = time.perf_counter_ns()
    event("PING", {"backend": "ray", "num-supernodes": 10})
    return (time.perf_counter_ns() - begin) / 1e6


count = int(sys.argv[1])
timed_ms()
segment = str(Home(Path(os.environ["FLWR_HOME"])).host().events)
free = [timed_ms() for _ in range(count)]
with subprocess.Popen([sys.executable, "-c", HOLDER, segment], stdout=subprocess.PIPE) as holder:
    holder.stdout.readline()
    os.waitpid(holder.pid, os.WUNTRACED)
    held = [timed_ms() for _ in range(count)]
    holder.kill()
print(json.dumps({"free_ms": free, "held_ms": held}))
